"""Who plays whom in a round: a share of mirror games, and opponents drawn from a pool for the rest.

Knows names, counts of wins and probabilities; it loads no models and plays no games.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..config.league import Draw

DECAY = 0.9
"""What a round's counts are multiplied by in the next one, as the learner has changed since."""


@dataclass(frozen=True)
class Pairing:
    """The opponent of one group of games about the same word, and the role that learns. opponent None: the mirror, both roles learn."""

    opponent: str | None = None
    role: str | None = None


@dataclass(frozen=True)
class Record:
    """Games of the learner against one opponent: decayed counts. A tie is half a win."""

    wins: float = 0.0
    games: float = 0.0

    @property
    def win_rate(self) -> float:
        """The win rate, with one tie added, so that an unknown opponent counts as an equal one."""
        return (self.wins + 0.5) / (self.games + 1)

    def after(self, wins: float, games: int) -> "Record":
        return Record(DECAY * self.wins + wins, DECAY * self.games + games)


def probabilities(pool: Sequence[str], records: Mapping[str, Record], draw: Draw) -> np.ndarray:
    """How often each opponent of the pool is drawn [n], summing to 1. pool: the oldest first."""
    if draw == "uniform":
        weights = np.ones(len(pool))
    elif draw == "recent":
        weights = 0.5 ** np.arange(len(pool) - 1, -1, -1.0)
    else:
        weights = np.array([(1 - records.get(name, Record()).win_rate) ** 2 for name in pool])
    normalised: np.ndarray = weights / weights.sum()
    return normalised


def pairings(
    pool: Sequence[str],
    records: Mapping[str, Record],
    draw: Draw,
    groups: int,
    mirror: float,
    roles: Sequence[str],
    seed: int,
    largest: int = 4,
) -> list[Pairing]:
    """One pairing for each group of a round. mirror: the probability of a mirror game, in [0, 1]; 1 where the pool is empty. largest: how
    many different opponents a round has at most, since each is a model in memory. Roles alternate over the groups that have an opponent.
    """
    rng = np.random.default_rng(seed)
    if not pool:
        return [Pairing()] * groups
    chances = probabilities(pool, records, draw)
    chosen = rng.choice(len(pool), size=min(largest, len(pool)), replace=False, p=chances)
    chances = chances[chosen] / chances[chosen].sum()
    paired: list[Pairing] = []
    against = int(rng.integers(len(roles)))
    for mirrored in rng.random(groups) < mirror:
        if mirrored:
            paired.append(Pairing())
            continue
        paired.append(Pairing(pool[chosen[rng.choice(len(chosen), p=chances)]], roles[against % len(roles)]))
        against += 1
    return paired
