"""From finished games to returns per role. Void games have none: they are never trained on."""

import random
from collections.abc import Collection, Sequence

from sparring.agents.rollout import Played
from sparring.envs.core import VOID

Returns = dict[str, dict[str, float]]
"""Per match id and role."""


def outcome_returns(played: Sequence[Played]) -> Returns:
    """The utilities of the outcomes: what a tie or a foul is worth is the game's to say (its prices)."""
    return {p.match.id: dict(p.outcome.utilities) for p in played if p.outcome.reason != VOID}


def without(returns: Returns, played: Sequence[Played], reasons: Collection[str]) -> Returns:
    """The returns without the games that ended for one of these reasons."""
    dropped = {p.match.id for p in played if p.outcome.reason in reasons}
    return {id: of for id, of in returns.items() if id not in dropped}


def shuffled_returns(played: Sequence[Played], seed: int) -> Returns:
    """The same outcomes dealt out at random among the games: a negative control, whose reward says nothing about what was said."""
    true = outcome_returns(played)
    dealt = random.Random(seed).sample(list(true.values()), k=len(true))
    return dict(zip(true, dealt, strict=True))
