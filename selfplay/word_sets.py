"""Which words a run plays about: imitated, met in self-play only, or never a target while training."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparring.agents.core import derive_seed
from sparring.envs.core import Task
from sparring.envs.english import truth
from sparring.envs.words import split_words, word_list
from sparring.envs.world import everyday, word_groups

from .evaluate import TruthOf


@dataclass(frozen=True)
class WordSets:
    """imitated: targets of imitation and of self-play. selfplayed: of self-play only. heldout: never a target."""

    imitated: tuple[str, ...]
    selfplayed: tuple[str, ...]
    heldout: tuple[str, ...]

    @property
    def played(self) -> tuple[str, ...]:
        return self.imitated + self.selfplayed

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """The groups that have words, by name."""
        named = {"imitated": self.imitated, "selfplayed": self.selfplayed, "heldout": self.heldout}
        return {name: words for name, words in named.items() if words}

    @property
    def counts(self) -> dict[str, int]:
        return {
            "imitated": len(self.imitated),
            "selfplayed": len(self.selfplayed),
            "heldout": len(self.heldout),
        }

    @property
    def everyday(self) -> bool:
        """Whether all of them are nouns of the everyday world, so that experts can play and hints can be checked."""
        return set(self.played + self.heldout) <= set(everyday().nouns)

    @property
    def truth(self) -> TruthOf | None:
        """The truth of hints, where it is known."""
        return _truth if self.everyday else None


NO_SECRETS = WordSets((), ("",), ())
"""Of a game that has no secret word: its tasks differ by their seeds alone."""


def _truth(texts: object, secret: str) -> tuple[int, int]:
    found = truth(texts, secret)  # type: ignore[arg-type]
    return found.claims, found.true


def word_sets(words: str, heldout: float, *, imitating: bool) -> WordSets:
    """The groups of a word list. The everyday world has its own; of any other list about a share is held out (`split_words`).

    imitating: whether experts are imitated on the played words first.
    """
    if words == "everyday":
        return WordSets(*word_groups())
    kept, held = (tuple(sorted(part)) for part in split_words(word_list(words), heldout))
    if not kept:
        raise ValueError(f"{words}: no words left to play about with heldout {heldout}")
    return WordSets(kept, (), held) if imitating else WordSets((), kept, held)


def round_tasks(words: Sequence[str], games: int, group_size: int, seed: int, label: str) -> list[Task]:
    """Tasks of one round: groups of `group_size` games about one word that begin alike, words drawn without repetition while they last."""
    rng = random.Random(derive_seed(seed, label, "words"))
    groups = games // group_size
    drawn: list[str] = []
    while len(drawn) < groups:
        drawn += rng.sample(list(words), k=min(len(words), groups - len(drawn)))
    tasks = []
    for number, word in enumerate(drawn):
        group = f"{label}/{number}"
        tasks += [Task(f"{group}/{member}", word, group, derive_seed(seed, group)) for member in range(group_size)]
    return tasks
