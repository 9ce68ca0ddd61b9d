"""Reads text files from users and other programs within bounds on their size. A bad file raises ValueError
with one sentence. Knows no format."""

import gzip
import json
import re
import sys
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast

LONGEST_TEXT = 1 << 20
"""Largest size in bytes of a file that is read whole: words, prompts, settings."""
LONGEST_LINE = 64 << 20
"""Longest line in bytes: one game or conversation."""
LARGEST_UNPACKED = 1 << 30
LARGEST_RATIO = 200
"""A compressed file may unpack to `LONGEST_TEXT` bytes or so, plus this many times its own size. Games of
silent players reach a ratio of 40, games of players that repeat themselves some hundreds."""
MOST_EMPTY = 100_000
"""Largest number of blank lines in a file."""

_MARK = b"\xef\xbb\xbf"
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
_BLANK = "\u034f\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols that are invisible."""
_UNUSUAL = re.compile(rf"[^\w !-~\t\r\n]|[{_BLANK}]")


def read_text(path: Path, longest: int = LONGEST_TEXT) -> str:
    """The text of a file, decompressed if its name ends in .gz, without a byte order mark. Raises ValueError
    for text that is no UTF-8 or longer than `longest` bytes."""
    with _opened(path) as file:
        most = min(longest, LONGEST_LINE + LARGEST_RATIO * path.stat().st_size)
        try:
            data = file.read(most + 1)
        except _DAMAGED as error:
            raise ValueError(f"{path}: this is not a whole file of text: {error}") from error
    if len(data) > most:
        raise ValueError(f"{path}: the file holds more than {most:,} bytes, too much to be read whole")
    return _decoded(data.removeprefix(_MARK), str(path))


def first_character(path: Path) -> str:
    """The first character that is not a blank among the first 4,096 bytes of a file, if it is ASCII; else
    ""."""
    with suppress(*_DAMAGED), _opened(path) as file:
        return file.read(4096).removeprefix(_MARK).lstrip()[:1].decode("ascii", "replace")
    return ""


def read_lines(path: Path) -> Iterator[tuple[str, str | ValueError]]:
    """The lines of a file that are not blank, decompressed if its name ends in .gz: the position ("FILE, line
    3") with the text, or with a ValueError for a bad line. Only line feeds end lines. Raises ValueError where
    the rest of the file cannot be read."""
    with _opened(path) as file:
        most = LARGEST_UNPACKED + LARGEST_RATIO * path.stat().st_size
        read = empty = 0
        for number in count(1):
            where = f"{path}, line {number}"
            try:
                line = file.readline(LONGEST_LINE + 1)
            except _DAMAGED as error:
                raise ValueError(f"{where}: this is not a whole file of text: {error}") from error
            read += len(line)
            if not line:
                return
            if len(line) > LONGEST_LINE:
                raise ValueError(f"{where}: the line is longer than {LONGEST_LINE:,} bytes, so the file is not read on")
            if read > most or empty > MOST_EMPTY:
                what = f"{most:,} bytes" if read > most else f"{MOST_EMPTY:,} empty lines"
                raise ValueError(f"{where}: the file holds more than {what}, so it is not read on")
            if not line.strip():
                empty += 1
            else:
                yield where, _line(line.removeprefix(_MARK) if number == 1 else line, where)


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for invalid JSON and for nesting or numbers beyond what can
    be read."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " * (error.lineno > 1)
        raise ValueError(f"not JSON ({error.msg}, {line}column {error.colno})") from error
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        raise ValueError(f"a number of more than {sys.get_int_max_str_digits():,} digits") from None


def hidden_character(text: str) -> str | None:
    """Code and name of the first invisible character in a text (control or format character, line separator,
    lone surrogate); None if there is none. Tabs and line breaks count as visible, and so do joiners after
    letters and symbols that join (Persian, Hindi, emoji)."""
    for match in _UNUSUAL.finditer(text):
        char, before = match[0], text[match.start() - 1 : match.start()]
        joins = char in "\u200c\u200d" and before.isprintable() and not before.isascii()
        if char in _BLANK or (unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and not joins):
            name = unicodedata.name(char, "a control character" if unicodedata.category(char) == "Cc" else "half a character")
            return f"U+{ord(char):04X} ({name})"
    return None


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _line(data: bytes, where: str) -> str | ValueError:
    try:
        return _decoded(data, where)
    except ValueError as error:
        return error


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: this is not a whole file of text: no UTF-8 ({error.reason} at byte {error.start})") from error
