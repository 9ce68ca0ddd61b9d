"""From finished games to training rows and pairs, by objective."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from sparring.agents.rollout import Played

from .advantages import group_relative, running_baseline
from .batch import Example, Pair, PairKind, Row, row_from_segment
from .config import Corrections
from .rewards import Returns
from .spag import Retell, spag_rows, trainable

Baselines = Mapping[str, float]
OF_GAMES = ("group", "rae", "spag", "dpo", "ipo")
"""Objectives that learn from games; SPIN learns from answers to experts' conversations (`pairs.py`)."""


def experience(
    played: Sequence[Played],
    returns: Returns,
    objective: str,
    baselines: Baselines,
    *,
    roles: Sequence[str] | None = None,
    corrections: Corrections | None = None,
    retell: Retell | None = None,
) -> tuple[list[Example], dict[str, float]]:
    """Rows or pairs of the games that have returns, and the new running baselines.

    group: return minus the mean of the games about the same word, per role. rae: return minus a running baseline per role. spag: the
    winner's turns alone. dpo, ipo: pairs of a game won and a game lost, about the same word in the same role. Rows whose advantages are all
    zero are left out of spag (nothing is trained on them) and kept otherwise, so that a KL penalty sees them. roles: that are trained, None
    for all of them. corrections, retell: of spag. Raises ValueError for an unknown objective.
    """
    counted = sorted((p for p in played if p.match.id in returns), key=lambda p: p.match.id)
    seats = [(p, role) for p in counted for role in p.match.game.roles if roles is None or role in roles]
    values = [returns[p.match.id][role] for p, role in seats]
    if objective == "spag":
        return list(spag_rows(seats, returns, corrections or Corrections(), retell)), dict(baselines)
    if objective in ("dpo", "ipo"):
        return list(_pairs(seats, returns, "dpo" if objective == "dpo" else "ipo")), dict(baselines)
    new = dict(baselines)
    if objective == "group":
        opponents = [tuple(a.name for other, a in sorted(p.match.agents.items()) if other != role) for p, role in seats]
        keys = [(p.match.task.group, role, opponent) for (p, role), opponent in zip(seats, opponents, strict=True)]
        advantages = group_relative(values, keys)
    elif objective == "rae":
        advantages, new = running_baseline(values, [f"{p.match.game.name}/{role}" for p, role in seats], baselines)
    else:
        raise ValueError(f"unknown objective {objective!r}; known: {', '.join(OF_GAMES)}")
    rows: list[Example] = [
        row_from_segment(segment, float(advantage), role=role)
        for (p, role), advantage in zip(seats, advantages, strict=True)
        for segment in trainable(p, role)
    ]
    return rows, new


def _pairs(seats: Iterable[tuple[Played, str]], returns: Returns, kind: PairKind) -> Iterator[Pair]:
    """Within a word and a role the games won and the games lost, one of each as long as there are both; a tie is neither.

    A pair's log-probabilities are still to be made the reference's. A seat whose stream was cut is left out: a pair is of two rows.
    """

    def place(seat: tuple[Played, str]) -> tuple[str, str]:
        return seat[0].match.task.group, seat[1]

    for _, group in groupby(sorted(seats, key=place), key=place):
        rows: dict[bool, list[Row]] = {True: [], False: []}
        for p, role in group:
            segments = trainable(p, role)
            own, best = returns[p.match.id][role], max(value for other, value in returns[p.match.id].items() if other != role)
            if len(segments) == 1 and own != best:
                rows[own > best].append(row_from_segment(segments[0], 0.0, role=role))
        yield from (Pair(chosen, rejected, kind) for chosen, rejected in zip(rows[True], rows[False], strict=False))
