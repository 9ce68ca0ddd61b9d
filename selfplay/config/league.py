"""The settings of a league, as `--league draw=pfsp mirror=0.5 every=1 fixed=scripted,random` gives them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from .checks import near

Draw = Literal["uniform", "recent", "pfsp"]
"""How opponents are drawn: all alike; each half as often as the next newer one; or by prioritised
fictitious self-play (AlphaStar, Vinyals et al. 2019, Methods): in proportion to (1 - p)^2, where p is the
learner's win rate against them."""

KNOWN = ("draw", "mirror", "every", "fixed")


@dataclass(frozen=True)
class LeagueOptions:
    """draw: how opponents are drawn, see `Draw`. mirror: share of groups in which the model plays itself,
    in [0, 1]. every: which checkpoints enter the pool, every n-th round's, round 0's among them. fixed:
    names of agents that are always in it."""

    draw: Draw = "pfsp"
    mirror: float = 0.5
    every: int = 1
    fixed: tuple[str, ...] = ()


def league_options(options: Mapping[str, str]) -> LeagueOptions | None:
    """The settings, or None where there is no league: no options are given. Raises ValueError for what is
    unknown or out of range."""
    if not options:
        return None
    if unknown := [name for name in options if name not in KNOWN]:
        raise ValueError(f"league has no option {unknown[0]!r}; {near(unknown[0], KNOWN)}")
    draws: dict[str, Draw] = {draw: draw for draw in get_args(Draw)}
    wanted = options.get("draw", LeagueOptions.draw)
    if wanted not in draws:
        raise ValueError(f"league option draw: unknown {wanted!r}; {near(wanted, draws)}")
    mirror = _number(options, "mirror", LeagueOptions.mirror)
    if not 0 <= mirror <= 1:
        raise ValueError(f"league option mirror is a share, between 0 and 1, got {options['mirror']!r}")
    every = _number(options, "every", LeagueOptions.every)
    if every < 1 or every != int(every):
        raise ValueError(f"league option every is a whole number of rounds, at least 1, got {options['every']!r}")
    fixed = tuple(name.strip() for name in options.get("fixed", "").split(",") if name.strip())
    return LeagueOptions(draws[wanted], mirror, int(every), fixed)


def _number(options: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(options.get(name, default))
    except ValueError:
        raise ValueError(f"league option {name} must be a number, got {options[name]!r}") from None
