"""The everyday world: a few hundred nouns and the facts that are true of them.

A closed world: a fact that the table (data/everyday.tsv) does not list is false. Knows nouns and facts; knows
no sentences, games or experts.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

KINDS: tuple[str, ...] = (
    "category", "colour", "size", "shape", "material", "cover", "place", "use", "part", "feel", "taste",
    "sound", "user", "time", "motion",
)  # fmt: skip
"""The kinds of fact, in the order of the table's columns."""


class Fact(NamedTuple):
    """One thing that can be true of a noun: Fact("colour", "yellow"). kind is one of KINDS."""

    kind: str
    value: str


class WordGroups(NamedTuple):
    """The groups of secret words, each sorted and disjoint.

    sft: targets in SFT and in self-play. rl: targets in self-play only. heldout: never a target while
    training.
    """

    sft: tuple[str, ...]
    rl: tuple[str, ...]
    heldout: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class World:
    """Nouns, their facts and their indefinite articles; finds the facts of a noun and the nouns of a fact.

    nouns: sorted. facts: noun -> facts that are true of it. articles: noun -> "a", "an" or "" (a mass noun:
    bread). all_facts: every fact of the world, by kind in the order of KINDS, then by value: the columns of
    `matrix`. matrix: bool [nouns, facts], True where the fact is true of the noun; not writable.
    """

    nouns: tuple[str, ...]
    facts: Mapping[str, frozenset[Fact]]
    articles: Mapping[str, str]
    all_facts: tuple[Fact, ...] = field(init=False, repr=False)
    matrix: NDArray[np.bool_] = field(init=False, repr=False)
    _values: Mapping[str, tuple[str, ...]] = field(init=False, repr=False)
    # One Python int per fact, bit i set where it holds of nouns[i]: experts intersect these endlessly.
    _masks: Mapping[Fact, int] = field(init=False, repr=False)
    _everything: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # The caller's mappings are copied, so that nobody can change a world that others hold.
        facts = {noun: frozenset(self.facts[noun]) for noun in self.nouns}
        all_facts = tuple(sorted(frozenset(chain(*facts.values())), key=lambda f: (KINDS.index(f.kind), f.value)))
        matrix = np.array([[fact in facts[noun] for fact in all_facts] for noun in self.nouns], dtype=np.bool_)
        matrix = matrix.reshape(len(self.nouns), len(all_facts))
        matrix.setflags(write=False)
        masks = {fact: sum(1 << i for i, noun in enumerate(self.nouns) if fact in facts[noun]) for fact in all_facts}
        values = {kind: tuple(f.value for f in all_facts if f.kind == kind) for kind in KINDS}
        derived = {
            "facts": MappingProxyType(facts),
            "articles": MappingProxyType({noun: self.articles[noun] for noun in self.nouns}),
            "all_facts": all_facts,
            "matrix": matrix,
            "_values": MappingProxyType(values),
            "_masks": MappingProxyType(masks),
            "_everything": (1 << len(self.nouns)) - 1,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[type["World"], tuple[object, ...]]:
        # Read-only mappings cannot be pickled; a world is rebuilt from its table instead.
        return World, (self.nouns, dict(self.facts), dict(self.articles))

    def values(self, kind: str) -> tuple[str, ...]:
        """Every value that some noun has for this kind of fact, sorted."""
        if kind not in self._values:
            raise ValueError(f"unknown kind of fact {kind!r}; known are {', '.join(KINDS)}")
        return self._values[kind]

    def has(self, noun: str, fact: Fact) -> bool:
        """Whether the fact is true of the noun. A fact outside the world is true of nothing."""
        return fact in self.facts[noun]

    def nouns_with(self, *facts: Fact) -> tuple[str, ...]:
        """The nouns of which all these facts are true, sorted; with no facts, all nouns."""
        return self.consistent(facts, ())

    def consistent(self, positive: Iterable[Fact], negative: Iterable[Fact]) -> tuple[str, ...]:
        """The nouns of which every positive fact is true and no negative one, sorted."""
        return self.unpack(self.candidates(positive, negative))

    def candidates(self, positive: Iterable[Fact], negative: Iterable[Fact]) -> int:
        """As `consistent`, as a bit mask in which bit i stands for nouns[i]; `int.bit_count` counts the
        nouns."""
        mask = self._everything
        for fact in positive:
            mask &= self._masks.get(fact, 0)
        for fact in negative:
            mask &= ~self._masks.get(fact, 0)
        return mask

    def unpack(self, mask: int) -> tuple[str, ...]:
        """The nouns of a bit mask, sorted."""
        nouns = []
        while mask:
            lowest = mask & -mask
            nouns.append(self.nouns[lowest.bit_length() - 1])
            mask ^= lowest
        return tuple(nouns)

    def a(self, noun: str) -> str:
        """The noun with its indefinite article: "a lemon", "an apple", "bread"."""
        return f"{self.articles[noun]} {noun}".lstrip()


@cache
def everyday() -> World:
    """The everyday world that the project ships, from data/everyday.tsv."""
    facts: dict[str, frozenset[Fact]] = {}
    articles: dict[str, str] = {}
    with (files("sparring.envs") / "data" / "everyday.tsv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
            articles[row["noun"]] = row["article"]
            facts[row["noun"]] = frozenset(Fact(kind, v) for kind in KINDS for v in row[kind].split("|") if v)
    return World(nouns=tuple(sorted(facts)), facts=facts, articles=articles)


def word_groups(world: World | None = None) -> WordGroups:
    """The world's nouns in three groups of sizes 3 : 3 : 2, with every category split alike.

    world: None means the everyday world. The SHA-256 of the nouns decides, so groups are equal on every
    machine. A noun of two categories counts in the alphabetically first one.
    """
    world = everyday() if world is None else world
    strata: dict[str, list[str]] = {}
    for noun in world.nouns:
        category = min((f.value for f in world.facts[noun] if f.kind == "category"), default="")
        strata.setdefault(category, []).append(noun)
    # Dealing on from stratum to stratum, not afresh in each, keeps the proportions exact over the world.
    deal = (0, 1, 2, 0, 1, 0, 1, 2)
    groups: tuple[list[str], ...] = ([], [], [])
    order = [n for category in sorted(strata) for n in sorted(strata[category], key=_digest)]
    for i, noun in enumerate(order):
        groups[deal[i % len(deal)]].append(noun)
    return WordGroups(*(tuple(sorted(group)) for group in groups))


def _digest(noun: str) -> str:
    # NOTE: the number salts a split whose imitated words carry every fact of everyday(); few splits do.
    # So any word can be hinted at with facts that training has shown. A changed table may need another one.
    return hashlib.sha256(f"1436 {noun}".encode()).hexdigest()
