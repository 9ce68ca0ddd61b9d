"""A sealed file is what was written, or is refused by its name."""

import json
from pathlib import Path

import pytest

from sparring.selfplay.storage.sealed import read_json, read_sealed, write_sealed

BAD_JSON = {
    "empty": b"",
    "cut": b'{"win_rates": [',
    "a list": b"[1, 2]",
    "a number": b"7",
    "nothing": b"null",
    "deep": b"[" * 100_000,
    "deep and whole": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "no text": b'{"a": "\xff"}',
    "a long number": b'{"a": ' + b"9" * 5_000 + b"}",
}
"""Bytes that are no JSON object, or one that costs a careless reader a traceback."""


@pytest.mark.parametrize("kind", BAD_JSON)
def test_what_is_no_object_is_refused_by_its_file(kind: str, tmp_path: Path):
    file = tmp_path / "round-000.json"
    file.write_bytes(BAD_JSON[kind])
    with pytest.raises(ValueError, match=f"{file} "):
        read_sealed(file)
    if kind != "deep and whole":
        with pytest.raises(ValueError, match=f"{file} cannot be read"):
            read_json(file)


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path):
    with pytest.raises(ValueError, match=r"gone\.json cannot be read"):
        read_json(tmp_path / "gone.json")


def test_what_is_written_is_read_and_what_is_changed_is_refused(tmp_path: Path):
    file, data = tmp_path / "x.json", {"win_rates": [{"win_rate": 0.1}], "by": {1: (2, None)}, "é": "\u2028"}
    write_sealed(file, data)
    assert read_sealed(file) == json.loads(json.dumps(data))
    first = file.read_bytes()
    write_sealed(file, {**data, "sha256": "another's"})
    assert file.read_bytes() == first
    for change in ({"win_rates": []}, {"more": 1}, {"sha256": None}):
        file.write_text(json.dumps({**json.loads(first), **change}))
        with pytest.raises(ValueError, match="is not what the run wrote"):
            read_sealed(file)
