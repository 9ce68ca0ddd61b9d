"""Which words a run plays about: those of SFT too, those of RL alone, and those that are never a target while training."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparring.agents.core import derive_seed
from sparring.envs.core import Task
from sparring.envs.words.lists import SPLITS, curriculum, list_names, of_everyday, outside_words, split_words
from sparring.envs.world.english import TruthOf, truth
from sparring.envs.world.facts import word_groups


@dataclass(frozen=True)
class WordSets:
    """sft: targets in SFT and in self-play. rl: in self-play only. heldout: never while training. stages: the played words
    list by list, in the order of a curriculum; empty where they are one list. everyday: whether they are the list `everyday`, asked for by
    that name, so that experts can play and hints can be checked; other lists are the user's own, whatever nouns they hold. outside: words
    beside the everyday world's that are played, of which no expert speaks; outside_heldout: such that are never a target."""

    sft: tuple[str, ...]
    rl: tuple[str, ...]
    heldout: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...] = ()
    everyday: bool = False
    outside: tuple[str, ...] = ()
    outside_heldout: tuple[str, ...] = ()

    @property
    def played(self) -> tuple[str, ...]:
        return self.sft + self.rl + self.outside

    def in_round(self, number: int, rounds: int) -> tuple[str, ...]:
        """The words of a round of a run, from 1: lists come in one after the other, each after an equal share of the rounds, and stay. In
        the last round all are played."""
        if not self.stages:
            return self.played
        lists = -(-number * len(self.stages) // rounds)
        return tuple(word for stage in self.stages[:lists] for word in stage)

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The groups that have words, by name; the lists of a curriculum are groups of their own."""
        named = {"sft": self.sft, "rl": self.rl}
        if self.stages:
            named = {f"list-{number}": stage for number, stage in enumerate(self.stages, 1)}
        named |= {"heldout": self.heldout, "outside": self.outside, "outside-heldout": self.outside_heldout}
        return {name: words for name, words in named.items() if words}

    @property
    def counts(self) -> dict[str, int]:
        counts = {name: len(getattr(self, name)) for name in ("sft", "rl", "heldout")}
        return counts | {name: len(words) for name, words in self.groups.items() if name not in counts and self.outside}

    @property
    def truth(self) -> "TruthOf | None":
        """The truth of hints, where it is known."""
        return truth if self.everyday else None


NO_SECRETS = WordSets((), ("",), ())
"""Of a game that has no secret word: its tasks differ by their seeds alone."""


def word_sets(words: str, heldout: float, *, with_sft: bool) -> WordSets:
    """The groups of a word list. The everyday world has its own; of any other list about a share is held out (`split_words`), but nothing
    of one that names a split itself (LIST@train). Several lists with commas are a curriculum.

    with_sft: whether SFT on experts' games about the played words comes first. Raises ValueError for a list that leaves no words to play
    about.
    """
    if words == "everyday":
        return WordSets(*word_groups(), everyday=True)
    if of_everyday(words):
        outside, held_out = split_words(outside_words(words), heldout)
        return WordSets(*word_groups(), everyday=True, outside=outside, outside_heldout=held_out)
    stages: list[tuple[str, ...]] = []
    held: list[str] = []
    for name, stage in zip(list_names(words), curriculum(words), strict=True):
        kept, out = _split(name, stage, heldout)
        if not kept:
            raise ValueError(f"{name}: no words left to play about with heldout {heldout}")
        stages.append(tuple(sorted(kept)))
        held += out
    played = tuple(word for stage in stages for word in stage)
    several = tuple(stages) if len(stages) > 1 else ()
    named = words in [f"everyday@{split}" for split in SPLITS]
    return WordSets(played if with_sft else (), () if with_sft else played, tuple(sorted(held)), several, named)


def _split(name: str, words: Sequence[str], heldout: float) -> tuple[Sequence[str], Sequence[str]]:
    """The words of a list to play about, and those held out."""
    if name == "everyday":
        own = set(word_groups().heldout)
        return [word for word in words if word not in own], [word for word in words if word in own]
    if name.rpartition("@")[2] in SPLITS and not Path(name).is_file():
        return words, ()
    return split_words(words, heldout)


def round_tasks(words: Sequence[str], games: int, group_size: int, seed: int, label: str) -> Iterator[Task]:
    """Tasks of one round, made as they are asked for: groups of `group_size` games about one word that begin alike, words drawn without
    repetition while they last."""
    rng = random.Random(derive_seed(seed, label, "words"))
    for first in range(0, games // group_size, len(words)):
        for number, word in enumerate(rng.sample(list(words), k=min(len(words), games // group_size - first)), first):
            group = f"{label}/{number}"
            for member in range(group_size):
                yield Task(f"{group}/{member}", word, group, derive_seed(seed, group))
