"""sparring words: lists of secret words."""

from dataclasses import dataclass

from .common import print_json
from .options import parse


@dataclass(frozen=True)
class Words:
    """Prints a list of secret words, one a line.

    Lists, here and wherever words are asked for: everyday; common (band:501-5000); band:FIRST-LAST, nouns by
    rank in a list of English words by frequency, or band:FIRST-LAST:verb (adjective, adverb); a file with one
    word a line. LIST@train and LIST@heldout are the two parts of a list; LIST,LIST are several. Bands leave
    out names, inflected forms and profane words (band:FIRST-LAST:profane keeps these).

    Examples:
      sparring words --band 1000-5000 --split heldout
      sparring words --band 1-20000 --part verb --count
      sparring words --words everyday,band:1-2000,band:2001-8000 --json
    """

    words: str = "common"
    """A list."""
    band: str | None = None
    """FIRST-LAST: ranks, both included, instead of a list."""
    part: str = "noun"
    """Part of speech of a band: noun, verb, adjective, adverb."""
    split: str | None = None
    """train or heldout; None: all words."""
    profane: bool = False
    """Keep the profane words of a band."""
    count: bool = False
    """Print how many there are instead."""
    json: bool = False
    """Print one JSON object instead: the words of each list."""


def words(arguments: list[str]) -> int:
    """Prints a list of secret words."""
    options: Words = parse(Words, "sparring words", arguments)

    from sparring.envs.words.lists import curriculum, list_names

    if options.band is not None and options.words != "common":
        raise ValueError("--words and --band both name a list; give one of them")
    if options.band is None and (options.part != "noun" or options.profane):
        raise ValueError("--part and --profane are for a --band")
    lists = list_names(options.words)
    if options.band is not None:
        lists = [f"band:{options.band}:{options.part}" + ":profane" * options.profane]
    if options.split is not None:
        lists = [f"{name}@{options.split}" for name in lists]
    stages = curriculum(",".join(lists))
    if options.json:
        print_json({"lists": [{"list": name, "words": stage} for name, stage in zip(lists, stages, strict=True)]})
    elif options.count:
        print(sum(map(len, stages)))
    else:
        print("\n".join(word for stage in stages for word in stage))
    return 0
