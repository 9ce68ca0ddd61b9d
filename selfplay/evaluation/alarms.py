"""Alarms: whether a run is still healthy, judged by its metrics. Pure functions; what happens then is the loop's business.

Entropy and the spread of rewards fall before play collapses (RAGEN's "echo trap", arXiv 2504.20073; "thinking collapse" in SPIRAL,
arXiv 2506.24119), so they are looked at after every optimiser step and every round.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..config.config import AlarmsConfig

Record = Mapping[str, Any]


LEAST_NORM, ORDINARY_NORM = 1e-3, 1.0
"""Norm of the first round's gradient below which it taught next to nothing, as where all rewards were equal; later ones are then compared
with an ordinary norm, the one that steps are clipped to by default."""


class Alarm(NamedTuple):
    """A metric beyond its limit. value: infinite of a gradient that is not finite, which is one without a limit too. step: of the round's
    optimiser steps, None for what was seen in the games."""

    name: str
    value: float
    limit: float | None
    step: int | None = None

    @property
    def record(self) -> dict[str, Any]:
        """As JSON, which knows nothing infinite."""
        return {**self._asdict(), "value": self.value if math.isfinite(self.value) else None, "text": self.text}

    @property
    def text(self) -> str:
        found, below = _WATCHED[self.name][:2]
        place = "" if self.step is None else f" at step {self.step}"
        if not math.isfinite(self.value) or self.limit is None:
            return f"gradient not finite{place}"
        return f"{found} {self.value:.3g}{place}, {'below' if below else 'above'} {self.limit:g}"

    @property
    def advice(self) -> str:
        """What to do about it, after a colon; empty where nothing is known to help."""
        return f": {ADVICE[self.name]}" if self.name in ADVICE else ""


class UnhealthyRunError(Exception):
    """A step raised alarms under an action that does not go on."""

    def __init__(self, alarms: list[Alarm]) -> None:
        self.alarms = alarms
        super().__init__("; ".join(alarm.text for alarm in alarms))


def check_health(record: Record, first: Record, config: AlarmsConfig, step: int | None = None) -> list[Alarm]:
    """The alarms of a round's or a step's metrics. first: the metrics of the first round, or as far as they are known. What a record does
    not hold raises none. A gradient that is not finite is an alarm whatever the first was, and without a limit: its step was not taken."""
    alarms = []
    for name, (_, below, measure) in _WATCHED.items():
        limit, value = config.limit(name), measure(record, first)
        if value is None:
            continue
        if value == math.inf or (limit is not None and (value < limit if below else value > limit)):
            alarms.append(Alarm(name, value, limit, step))
    return alarms


def _reason(*names: str) -> Callable[[Record, Record], float | None]:
    def share(record: Record, _: Record) -> float | None:
        games = record.get("games")
        return sum(record["reasons"].get(name, 0) for name in names) / games if games else None

    return share


def _plain(name: str) -> Callable[[Record, Record], float | None]:
    return lambda record, _: record.get(name)


def _relative(name: str) -> Callable[[Record, Record], float | None]:
    def ratio(record: Record, first: Record) -> float | None:
        now, then = record.get(name), first.get(name)
        return now / then if now is not None and then else None

    return ratio


def _growth(record: Record, first: Record) -> float | None:
    """Of the gradient's norm, infinite where that is not finite: no ratio can tell it from a first step that was not finite itself."""
    now, then = record.get("grad_norm"), first.get("grad_norm")
    if now is None or not math.isfinite(now):
        return None if now is None else math.inf
    return None if then is None else now / (then if then >= LEAST_NORM else ORDINARY_NORM)


def _spread(record: Record, _: Record) -> float | None:
    return min((value for name, value in record.items() if name.endswith("/reward_std")), default=None)


def _imbalance(record: Record, _: Record) -> float | None:
    wins = [value for name, value in record.items() if name.endswith("_wins")]
    return max(wins) / sum(wins) if sum(wins) else None


def _ties(record: Record, _: Record) -> float | None:
    return record["ties"] / record["games"] if record.get("games") else None


def _truth_lost(record: Record, first: Record) -> float | None:
    now, then = record.get("truth"), first.get("truth")
    return then - now if now is not None and then is not None else None


_WATCHED: Mapping[str, tuple[str, bool, Callable[[Record, Record], float | None]]] = {
    "entropy": ("entropy as a share of the first round's", True, _relative("entropy")),
    "reward_std": ("standard deviation of returns", True, _spread),
    "mute": ("share of games lost by silence or over-long speech", False, _reason("silent", "overlong")),
    "repeated": ("share of repeated utterances", False, _plain("repeated")),
    "imbalance": ("share of decided games that one role wins", False, _imbalance),
    "decisive": ("share of games won by a right guess or an uttered word", True, _plain("decisive")),
    "ties": ("share of ties", False, _ties),
    "fouls": ("share of games lost by a foul", False, _reason("foul")),
    "mismatch_kl": ("KL between sampler and learner", False, _plain("mismatch_kl")),
    "grad_norm": ("gradient norm as a multiple of the first round's", False, _growth),
    "truth": ("fall of the share of true hints", False, _truth_lost),
}
"""By name in LIMITS: what it is, whether it must not fall below its limit (else not rise above), how it is read."""


_STALLING = (
    "players learn to stall where they cannot win; go back to the last healthy model (--alarms.action rollback), mix in more "
    "demonstrations (--sft-mix.source experts, a larger --sft-mix.weight), or price ties (--game AdversarialTaboo-DrawingOut)"
)
ADVICE: Mapping[str, str] = {"decisive": _STALLING, "ties": _STALLING}
"""By alarm what has helped."""
