"""The main part of speech of a word, from a shipped table (made by data/build_parts.py) of the 50,000 most
frequent words.

Names, inflected forms and function words are not in the table.
"""

import gzip
from functools import lru_cache
from pathlib import Path

PARTS = ("noun", "verb", "adjective", "adverb")

TABLE_PATH = Path(__file__).parents[1] / "data" / "parts.txt.gz"


def words_of(part: str) -> frozenset[str]:
    """All words that are mainly this part of speech. Raises ValueError for an unknown one."""
    if part not in PARTS:
        raise ValueError(f"unknown part of speech {part!r}; known: {', '.join(PARTS)}")
    return _table()[part]


@lru_cache(maxsize=1)
def _table() -> dict[str, frozenset[str]]:
    lines = gzip.decompress(TABLE_PATH.read_bytes()).decode("ascii").splitlines()
    return {part: frozenset(words.split(" ")) for part, _, words in (line.partition("\t") for line in lines)}
