"""Text files that people and other programs wrote: read within bounds, whatever they hold. What is wrong with
one is a ValueError of one sentence. Knows no format.
"""

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
"""Bytes of the longest file that is read whole: words, prompts, settings."""
LONGEST_LINE = 64 << 20
"""Bytes of the longest line: of a game, a conversation."""
LARGEST_UNPACKED = 1 << 30
LARGEST_RATIO = 200
"""A compressed file may hold so many bytes, and this many times its own size more. Games of silent players
reach a ratio of 40, those of players that repeat themselves without end of some hundreds."""
MOST_EMPTY = 100_000
"""Lines of a file that hold nothing."""

_MARK = b"\xef\xbb\xbf"
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
_BLANK = "\u034f\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs that show nothing."""
_UNUSUAL = re.compile(rf"[^\w !-~\t\r\n]|[{_BLANK}]")


def read_text(path: Path, longest: int = LONGEST_TEXT) -> str:
    """The text of a file, compressed or not by its name, without a byte order mark. Raises ValueError for one
    that is no UTF-8 or has more than `longest` bytes."""
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
    """The first character of a file beyond blanks, if it is among its first 4,096 bytes; of those of
    ASCII."""
    with suppress(*_DAMAGED), _opened(path) as file:
        return file.read(4096).removeprefix(_MARK).lstrip()[:1].decode("ascii", "replace")
    return ""


def read_lines(path: Path) -> Iterator[tuple[str, str | ValueError]]:
    """The lines of a file, compressed or not by its name, that hold more than blanks: where each stands
    ("FILE, line 3"), and its text, or what is wrong with it. Lines end by line feeds alone. Raises ValueError
    where the rest of the file cannot be read.
    """
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
    """The value of a JSON text. Raises ValueError where it is none, or more than can be read."""
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
    """What cannot be seen in a text, by code and name: a control or format character, a separator of lines,
    half a character; None where there is none. Tabs and line breaks can be seen, and so can joiners after
    letters and signs that join (Persian, Hindi, emoji).
    """
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
