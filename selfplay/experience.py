"""From finished games to training rows, by objective."""

from collections.abc import Mapping, Sequence

import numpy as np

from sparring.agents.core import Segment
from sparring.agents.rollout import Played

from .advantages import group_relative, role_weights, running_baseline, spag_turn_rewards
from .batch import Row, row_from_segment
from .rewards import Returns

Baselines = Mapping[str, float]


def experience(played: Sequence[Played], returns: Returns, objective: str, baselines: Baselines) -> tuple[list[Row], dict[str, float]]:
    """Rows of the games that have returns, and the new running baselines.

    group: return minus the mean of the games about the same word, per role. rae: return minus a running baseline per role. spag: the
    winner's turns alone. Rows whose advantages are all zero are left out of spag (nothing is trained on them) and kept otherwise, so that
    a KL penalty sees them. Raises ValueError for an unknown objective.
    """
    counted = sorted((p for p in played if p.match.id in returns), key=lambda p: p.match.id)
    if objective == "spag":
        return _spag(counted, returns), dict(baselines)
    seats = [(p, role) for p in counted for role in p.match.game.roles]
    values = [returns[p.match.id][role] for p, role in seats]
    new = dict(baselines)
    if objective == "group":
        opponents = [tuple(a.name for other, a in sorted(p.match.agents.items()) if other != role) for p, role in seats]
        keys = [(p.match.task.group, role, opponent) for (p, role), opponent in zip(seats, opponents, strict=True)]
        advantages = group_relative(values, keys)
    elif objective == "rae":
        advantages, new = running_baseline(values, [f"{p.match.game.name}/{role}" for p, role in seats], baselines)
    else:
        raise ValueError(f"unknown objective {objective!r}; known: group, rae, spag")
    rows = [
        row_from_segment(segment, float(advantage), role=role)
        for (p, role), advantage in zip(seats, advantages, strict=True)
        for segment in _trainable(p, role)
    ]
    return rows, new


def _spag(played: Sequence[Played], returns: Returns) -> list[Row]:
    """Winners' turns with SPAG's rewards, weighed by role. A foul counts as a win of the other side but is dropped, as SPAG does."""
    won = [(p, role) for p in played if p.outcome.reason != "foul" for role in p.match.game.roles if returns[p.match.id][role] > 0]
    weights = role_weights([role for _, role in won])
    rows = []
    for p, role in won:
        turns = [span.turn for segment in _trainable(p, role) for span in segment.turns]
        rewards = dict(zip(turns, spag_turn_rewards(len(turns)), strict=True))
        for segment in _trainable(p, role):
            values = np.zeros(len(segment.ids), np.float32)
            for span in segment.turns:
                values[span.start : span.end] = rewards[span.turn]
            rows.append(row_from_segment(segment, values, weight=weights[role], role=role))
    return rows


def _trainable(played: Played, role: str) -> list[Segment]:
    return [segment for segment in played.segments[role] if segment.action.any()]
