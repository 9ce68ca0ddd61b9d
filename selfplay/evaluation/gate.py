"""Whether a model can win at all, by games against itself: asked before hours of self-play are spent on it.

Where neither role ever wins by its own skill, a tie is the best that can be had, and self-play learns to stall.
"""

from collections.abc import Mapping
from typing import Any

WON = ("declared_right", "uttered")
"""Reasons of outcomes that a role brings about by playing well; a wrong guess is a gift."""
MUTE = ("silent", "overlong")
BROKEN = ("foul", *MUTE)
"""Reasons of outcomes by which a game ends that was not played by its rules."""
GAMES = 128
"""Games of the first model against itself."""
MOST_BROKEN = 0.15
"""Share of them that may be broken where a start is asked to win at all."""


class NoStart(ValueError):  # noqa: N818  what it says is the sentence
    """A model that would learn nothing but to stall."""


def share_of(record: Mapping[str, Any], reasons: tuple[str, ...]) -> float | None:
    """The share of a round's games that ended for one of the reasons; None without games."""
    games = record.get("games")
    return sum(record["reasons"].get(reason, 0) for reason in reasons) / games if games else None


def sentence(record: Mapping[str, Any]) -> str:
    """What games of a model against itself came to. record: games and their reasons, as `describe` counts them."""
    won, broken = share_of(record, WON) or 0.0, share_of(record, BROKEN) or 0.0
    return (
        f"of {record['games']} games against itself {won:.1%} end by a right guess or an uttered word and {broken:.1%} by a foul, silence "
        "or over-long speech"
    )


def can_win(record: Mapping[str, Any], least: float) -> bool:
    """Whether enough games end by a right guess or an uttered word, and few enough by fouls, silence and over-long speech."""
    won, broken = share_of(record, WON), share_of(record, BROKEN)
    return won is not None and broken is not None and won >= least and broken <= MOST_BROKEN


def require_can_win(record: Mapping[str, Any], least: float, steps: int, first: str) -> None:
    """Raises NoStart, with the figures and what to do, for a model that cannot. least: share of games to
    be won by skill. steps: of its supervised start. first: its name."""
    if can_win(record, least):
        return
    longer = f"a longer supervised start (--sft.steps {2 * steps})" if steps else "a supervised start (--sft.steps 100)"
    raise NoStart(
        f"the model cannot win yet: {sentence(record)}; at least {least:.0%} and at most {MOST_BROKEN:.0%} are needed, or self-play "
        f"learns to stall. Give it {longer}, a lower --temperature or words that it can guess; or go on all the same with "
        f"--model {first} --sft.steps 0 --alarms.limits start=none"
    )
