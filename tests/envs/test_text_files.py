"""Text files of others: read within bounds, and every fault a sentence."""

import gzip
from pathlib import Path

import pytest

from sparring.envs import text_files
from sparring.envs.text_files import first_character, hidden_character, parse_json, read_lines, read_text

MARK = b"\xef\xbb\xbf"


def test_a_mark_is_no_part_of_the_text_and_each_line_is_read_by_itself(tmp_path: Path):
    data = MARK + b"one\r\n\n  \ncaf\xe9\nl\xc3\xa4st\xe2\x80\xa8line"
    for path in (tmp_path / "x", tmp_path / "x.gz"):
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        (first, one), (second, bad), (third, last) = read_lines(path)
        assert (one, last) == ("one\r\n", "läst\u2028line")
        assert [where.removeprefix(f"{path}, ") for where in (first, second, third)] == ["line 1", "line 4", "line 5"]
        assert isinstance(bad, ValueError) and f"{path}, line 4: this is not a whole file of text: no UTF-8" in str(bad)
        with pytest.raises(ValueError, match="no UTF-8"):
            read_text(path)
        assert first_character(path) == "o"
    (tmp_path / "x").write_bytes(MARK + "Bär".encode())
    assert read_text(tmp_path / "x") == "Bär"


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("LONGEST_LINE", "LARGEST_UNPACKED", "MOST_EMPTY"):
        monkeypatch.setattr(text_files, name, 1000)
    path = tmp_path / "x.gz"
    for data, message in [
        (b"a\n" + b"b" * 1001, "x.gz, line 2: the line is longer than 1,000 bytes"),
        (b"\n" * 1002, "x.gz, line 1002: the file holds more than 1,000 empty lines"),
        (b"a\n" * 30_000, r"x.gz, line \d+: the file holds more than \d+,\d+ bytes, so it is not read on"),
    ]:
        path.write_bytes(gzip.compress(data))
        with pytest.raises(ValueError, match=message):
            list(read_lines(path))
        with pytest.raises(ValueError, match="too much to be read whole"):
            read_text(path, 999)
    path.write_bytes(gzip.compress(b"a" * 50_000))
    with pytest.raises(ValueError, match="too much to be read whole"):
        read_text(path)
    (tmp_path / "x").write_bytes(b"a\n" * 999)
    assert len(list(read_lines(tmp_path / "x"))) == 999


@pytest.mark.parametrize(
    "data",
    [b"none", gzip.compress(b"some\n" * 99)[:-9], gzip.compress(b"some\n" * 99)[:-20] + b"x" * 20],
    ids=["no gzip", "cut off", "overwritten"],
)
def test_a_damaged_file_is_named(tmp_path: Path, data: bytes):
    path = tmp_path / "x.gz"
    path.write_bytes(data)
    for read in (read_text, lambda path: list(read_lines(path))):
        with pytest.raises(ValueError, match=r"x\.gz.*not a whole file of text"):
            read(path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a\x00b", "U+0000 (a control character)"),
        ("a\x1b[2J", "U+001B (a control character)"),
        ("a\x85", "U+0085 (a control character)"),
        ("a\u200bb", "U+200B (ZERO WIDTH SPACE)"),
        ("\ufeffa", "U+FEFF (ZERO WIDTH NO-BREAK SPACE)"),
        ("a\u202eb", "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
        ("a\u2028b", "U+2028 (LINE SEPARATOR)"),
        ("a\u00adb", "U+00AD (SOFT HYPHEN)"),
        ("a\u200db", "U+200D (ZERO WIDTH JOINER)"),
        ("\u200dcat", "U+200D (ZERO WIDTH JOINER)"),
        ("é\u200d\u200dx", "U+200D (ZERO WIDTH JOINER)"),
        ("\u3164", "U+3164 (HANGUL FILLER)"),
        ("a\u2800b", "U+2800 (BRAILLE PATTERN BLANK)"),
        ("\ud800", "U+D800 (half a character)"),
        ("Two lines,\n\ttabs, naïve café, 犬, हिन्दी, می\u200cخواهم, 👩\u200d🏫, a\u00a0b", None),
    ],
)
def test_what_cannot_be_seen_is_named(text: str, name: str | None):
    assert hidden_character(text) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"not JSON \(.*, column 2\)"),
        ("[1,\n2", r"not JSON \(.*, line 2, column 2\)"),
        ("", "not JSON"),
        ("[" * 5000, "nested too deeply"),
        ('{"a":' * 5000, "nested too deeply"),
        ("1" * 5000, "a number of more than 4,300 digits"),
    ],
)
def test_what_is_no_json_is_said(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        parse_json(text)
