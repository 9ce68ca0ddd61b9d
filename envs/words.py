"""Lists of secret words: the everyday world, frequent English words, or a file."""

from pathlib import Path

from .forms import clean_target, forms, is_known, plural
from .world import everyday

COMMON_BAND = (500, 5000)
"""Ranks of "common": below, words are too general to hint at; above, small models hardly know them."""


def word_list(name_or_path: str) -> tuple[str, ...]:
    """The words of a list, without repetition: "everyday", "common", or a text file with one word a line (# begins a comment).

    Raises ValueError for an unknown list, and for a file with a line that cannot be a secret word, naming it.
    """
    if name_or_path == "everyday":
        return everyday().nouns
    if name_or_path == "common":
        return common_words(*COMMON_BAND)
    path = Path(name_or_path)
    if not path.is_file():
        raise ValueError(f"unknown word list {name_or_path!r}: neither everyday, nor common, nor a file with one word a line")
    words: dict[str, None] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}") from error
    for number, line in enumerate(lines, 1):
        word = " ".join(line.partition("#")[0].split())
        if word:
            try:
                clean_target(word)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            words[word] = None
    if not words:
        raise ValueError(f"{path} holds no words")
    return tuple(words)


def common_words(first: int, last: int) -> tuple[str, ...]:
    """Words with ranks in [first, last) of the frequency list that the table of word forms knows, that have at least four letters and a
    plural: mostly nouns (verbs that end alike, as in "speaks", slip in), no names, no function words.
    """
    from .frequency import ranked

    found = ranked(last)[first:]
    return tuple(w for w in found if w.isalpha() and len(w) >= 4 and is_known(w) and plural(w) in forms(w))
