"""Rows, padding, micro-batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sparring.agents.core import Segment, TurnSpan
from sparring.selfplay.learner.batch import Row, collate, micro_batches, minibatches, row_from_segment, sft_row


def row(n: int, *actions: int, weight: float = 1.0) -> Row:
    action = np.zeros(n, np.bool_)
    action[list(actions)] = True
    return Row(np.arange(n), action, np.where(action, -0.5, 0).astype(np.float32), action.astype(np.float32), weight)


def test_a_segments_advantage_lies_on_its_actions_alone():
    segment = Segment(np.array([7, 8, 9]), np.array([False, True, True]), np.zeros(3, np.float32), (TurnSpan(0, 1, 3, "stop"),), 0.7, "3")
    made = row_from_segment(segment, 2.0, weight=3.0, role="attacker")
    assert made.advantages.tolist() == [0, 2, 2]
    assert (made.weight, made.temperature, made.reference_logprobs, made.actions) == (3.0, 0.7, None, 2)


def test_a_row_ends_with_its_last_action():
    """What is said to a player without room for an answer stands in the segment, beyond the context."""
    action = np.array([False, True, False, False])
    segment = Segment(np.arange(4), action, np.zeros(4, np.float32), (TurnSpan(0, 1, 2, "stop"), TurnSpan(2, 4, 4, "length")), 1.0, "3")
    made = row_from_segment(segment, 2.0)
    assert made.ids.tolist() == [0, 1] and made.advantages.tolist() == [0, 2]
    assert len(made.action) == len(made.sampler_logprobs) == 2
    silent = row_from_segment(replace(segment, action=np.zeros(4, np.bool_)), 2.0)
    assert (silent.actions, len(silent.ids)) == (0, 1)


def test_collate_points_at_the_token_before_each_action():
    batch = collate([row(3, 1, 2), row(5, 4, weight=2.0)])
    assert batch.ids.tolist() == [[0, 1, 2, 0, 0], [0, 1, 2, 3, 4]]
    assert (batch.positions, batch.lengths) == (None, (3, 5))
    assert batch.rows.tolist() == [0, 0, 1]
    assert batch.places.tolist() == [0, 1, 8]
    assert batch.targets.tolist() == [1, 2, 4]
    assert batch.weights.tolist() == [1, 1, 2]
    assert torch.equal(batch.sampler_logprobs, torch.full((3,), -0.5))


def test_packed_rows_lie_one_after_the_other():
    batch = collate([row(3, 1, 2), row(5, 4)], packed=True)
    assert batch.ids.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4]]
    assert batch.positions is not None
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4]]
    assert (batch.rows.tolist(), batch.places.tolist(), batch.targets.tolist()) == ([0, 0, 1], [0, 1, 6], [1, 2, 4])


def test_a_first_token_cannot_be_an_action():
    with pytest.raises(ValueError, match="first token"):
        collate([sft_row([1, 2], [True, False])])


def test_micro_batches_hold_every_row_once_within_the_budget():
    rows = [row(n, 1) for n in (9, 2, 30, 4, 4, 7)]
    parts = list(micro_batches(rows, 16))
    assert sorted(len(r.ids) for part in parts for r in part) == [2, 4, 4, 7, 9, 30]
    for part in parts:
        assert len(part) == 1 or max(len(r.ids) for r in part) * len(part) <= 16


def test_micro_batches_of_packed_rows_count_no_padding():
    rows = [row(n, 1) for n in (9, 2, 30, 4, 4, 7)]
    parts = [[len(r.ids) for r in part] for part in micro_batches(rows, 17, packed=True)]
    assert parts == [[2, 4, 4, 7], [9], [30]]


def test_minibatches_are_drawn_by_the_seed_and_hold_every_row_once():
    rows = [row(i + 2, 1) for i in range(10)]
    parts = minibatches(rows, 4, seed=1)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert sorted(len(r.ids) for part in parts for r in part) == list(range(2, 12))
    assert [[len(r.ids) for r in part] for part in parts] == [[len(r.ids) for r in part] for part in minibatches(rows, 4, seed=1)]
    assert [len(part) for part in minibatches(rows[:9], 4, seed=1)] == [4, 5]
