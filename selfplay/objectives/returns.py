"""Rewards: from finished games to returns per role. Void games have none: they are never trained on."""

import random
from collections.abc import Callable, Sequence

from sparring.agents.rollout import Episode
from sparring.envs.core import VOID

Returns = dict[str, dict[str, float]]
"""Per match id and role."""


Reward = Callable[[Sequence[Episode], int], Returns]
"""Returns of a round's games. The seed is the only source of what is random about it."""


def outcome_returns(episodes: Sequence[Episode], seed: int = 0) -> Returns:
    """The utilities of the outcomes: what a tie or a foul is worth is the game's to say (its payoffs). Takes no chances: the seed is
    not used."""
    return {p.match.id: dict(p.outcome.utilities) for p in episodes if p.outcome.reason != VOID}


def shuffled(reward: Reward) -> Reward:
    """The same returns dealt out at random among the games: a negative control, whose reward says nothing about what was said."""

    def returns(episodes: Sequence[Episode], seed: int) -> Returns:
        true = reward(episodes, seed)
        dealt = random.Random(seed).sample(list(true.values()), k=len(true))
        return dict(zip(true, dealt, strict=True))

    return returns
