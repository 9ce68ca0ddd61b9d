"""Lists of secret words, by one grammar: what `words=` means wherever it is taken.

    everyday                  the nouns of the everyday world
    common                    band:501-5000; more frequent words are too general to hint at, small models hardly know rarer ones
    band:1000-5000            nouns with these ranks in a list of English words by frequency, 1 the most frequent, both ends included
    band:1000-5000:verb       another part of speech: noun, verb, adjective, adverb; `:profane` keeps profane words too
    words.txt                 a text file with one word a line, of at most 100 characters that can be seen; # beside a blank
                              or at the start begins a comment (C# is a word)
    everyday+LIST             the nouns of the everyday world, and those words of a list that no sentence of its small English holds
    LIST@train, LIST@heldout  the words of a list to train on, and those to keep for a test
    LIST,LIST                 the words of several lists, in order; a curriculum takes them one after the other

Bands hold words of letters alone, three or more, that WordNet knows. Left out are names (of persons, places,
days ...), inflected forms (cities, taking), words of grammar (can, something), and profane words
(data/profane.txt and what is made of them).
"""

import difflib
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from os.path import isfile  # of pathlib's a name that is too long is an error
from pathlib import Path

from ..judge.word_forms import clean_target, forms
from ..text_files import hidden_character, read_text
from ..world.english import sentence_words
from ..world.facts import everyday, word_groups
from .parts_of_speech import PARTS, words_of

COMMON = "band:501-5000"
LAST_RANK = 50_000
"""Parts of speech are known up to this rank."""
LARGEST_FILE = 64 << 20
"""Largest file of words in bytes."""
LONGEST_WORD = 100
"""Longest word in a file, in characters."""
_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#|#(?=[ \t])")
"""Where a comment begins in a line of a file; C# and F#m are words."""
BESIDE = "everyday+"
SPLITS = ("train", "heldout")
HELDOUT = 0.1
"""Share of a list's words that `@heldout` takes; the everyday world has held-out words of its own."""


def word_list(words: str) -> tuple[str, ...]:
    """The words of a list, without repetition. Raises ValueError for an unknown list, with the known ones,
    and for a list without words."""
    return tuple(dict.fromkeys(word for stage in curriculum(words) for word in stage))


def require_listed(word: str, words: Sequence[str]) -> None:
    """Raises ValueError where a requested secret word is not among an environment's words."""
    if word not in words:
        near = difflib.get_close_matches(word, words, n=3) if isinstance(word, str) else []
        raise ValueError(
            f"the word {word!r} is not among the environment's {len(words)} words"
            + (f" (near: {', '.join(near)})" if near else "")
            + "; make the environment with a list that has it: words=FILE, one word a line"
        )


def curriculum(words: str) -> tuple[tuple[str, ...], ...]:
    """The lists that a comma-separated list names, in its order: "everyday,band:1-2000,band:2001-8000" goes
    from easy to hard.

    Each word is in the first list that contains it. Raises ValueError as `word_list` does, and for a list
    that adds no words.
    """
    met: set[str] = set()
    stages = []
    for name in list_names(words):
        stage = tuple(word for word in dict.fromkeys(_list(name)) if word not in met)
        if not stage:
            raise ValueError(f"the word list {name!r} holds no words" + (" that the lists before it lack" if met else ""))
        met.update(stage)
        stages.append(stage)
    return tuple(stages)


def list_names(words: str) -> list[str]:
    """The single lists of a comma-separated list; a file name may contain commas. Raises TypeError for a
    value that is no str."""
    if not isinstance(words, str):
        raise TypeError(f"words is the name of a list or of a file with one word a line, as a str; got {words!r}")
    return [words] if isfile(words) else words.split(",")


def split_words(words: Iterable[str], heldout: float = HELDOUT) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(words to train on, words held out), in their order. The hash of each word decides, so a word is on the
    same side in every list and on every machine. heldout: share of held-out words, in [0, 1]; short lists
    have it only roughly."""
    kept: tuple[list[str], list[str]] = ([], [])
    for word in words:
        digest = hashlib.sha256(f"heldout {clean_target(word)}".encode()).digest()
        kept[int.from_bytes(digest[:8], "big") < heldout * 2**64].append(word)
    return tuple(kept[0]), tuple(kept[1])


def band_words(first: int, last: int, part: str = "noun", *, profane: bool = False) -> tuple[str, ...]:
    """Words with ranks from `first` to `last`, both included, most frequent first; the module's docstring
    says what is left out.

    Raises ValueError for ranks beyond the list and for an unknown part of speech.
    """
    from .frequency import ranked

    if not 1 <= first <= last <= LAST_RANK:
        raise ValueError(f"a band goes from a rank to one that is as high or higher, within 1-{LAST_RANK}; got {first}-{last}")
    wanted = words_of(part) if profane else words_of(part) - profane_words()
    return tuple(word for word in ranked(LAST_RANK)[first - 1 : last] if word in wanted)


@lru_cache(maxsize=1)
def profane_words() -> frozenset[str]:
    """The words of data/profane.txt with their inflections and derivations."""
    lines = (files("sparring.envs") / "data" / "profane.txt").read_text(encoding="ascii").splitlines()
    return frozenset(form for line in lines if not line.startswith("#") for form in forms(line, "family"))


def _list(name: str) -> tuple[str, ...]:
    """One list, with its split if it has one."""
    source, at, split = name.rpartition("@")
    if not at or isfile(name):
        return _whole(name)
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} in {name!r}; known splits: {', '.join(SPLITS)}")
    if source == "everyday":
        groups = word_groups()
        return groups.heldout if split == "heldout" else tuple(sorted(groups.sft + groups.rl))
    return split_words(_whole(source))[SPLITS.index(split)]


def of_everyday(words: str) -> bool:
    """Whether these are the nouns of the everyday world, which scripted experts know, perhaps with others beside them."""
    return words == "everyday" or (words.startswith(BESIDE) and not isfile(words) and "," not in words)


def outside_words(name: str) -> tuple[str, ...]:
    """The words of LIST in everyday+LIST that are outside the everyday world: neither its nouns nor words of its sentences, in any form.
    Raises ValueError for a list without such words."""
    inside = {form for word in sentence_words() for form in forms(word, "lemma")}
    outside = tuple(word for word in dict.fromkeys(_list(name.removeprefix(BESIDE))) if not set(forms(word, "lemma")) & inside)
    if not outside:
        raise ValueError(f"the word list {name!r} holds no words that the everyday world lacks")
    return outside


def _whole(name: str) -> tuple[str, ...]:
    if of_everyday(name) and name != "everyday":
        return (*everyday().nouns, *outside_words(name))
    if name == "everyday":
        return everyday().nouns
    if name == "common":
        return _band(COMMON)
    if name.startswith("band:"):
        return _band(name)
    if not isfile(name):
        raise ValueError(
            f"unknown word list {name!r:.100}: neither everyday, nor common, nor a band (band:1000-5000), nor a file with one word a line"
        )
    return _file_words(Path(name))


def _band(name: str) -> tuple[str, ...]:
    match = re.fullmatch(rf"band:(\d+)-(\d+)(?::({'|'.join(PARTS)}))?(:profane)?", name)
    if not match:
        raise ValueError(
            f"cannot read the band {name!r:.100}; a band is band:FIRST-LAST, as band:1-5000, then perhaps :PART ({', '.join(PARTS)}), then "
            "perhaps :profane"
        )
    first, last, part, profane = match.groups()
    return band_words(int(first), int(last), part or "noun", profane=profane is not None)


def _file_words(path: Path) -> tuple[str, ...]:
    words: dict[str, None] = {}
    for number, line in enumerate(re.split(r"\r\n?|\n", read_text(path, LARGEST_FILE)), 1):
        written = _COMMENT.split(line, maxsplit=1)[0].strip(" \t")
        if written:
            try:
                words[_file_word(written)] = None
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    return tuple(words)


def _file_word(written: str) -> str:
    """The word in a line, its parts joined by single blanks. Raises ValueError for a line without a word that
    can be said and shown."""
    if len(written) > LONGEST_WORD:
        raise ValueError(f"a word has at most {LONGEST_WORD} characters, got {len(written):,}, beginning with {written[:20]!r}")
    if hidden := hidden_character(written):
        raise ValueError(f"the word {written!r} holds {hidden}, which cannot be seen; remove it")
    word = " ".join(written.split())
    clean_target(word)
    return word
