"""Samples, padding, micro-batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sparring.agents.core import Segment, TurnSpan
from sparring.selfplay.learner.batch import Sample, collate, micro_batches, minibatches, sample_from_segment, sft_sample


def sample(n: int, *actions: int, weight: float = 1.0) -> Sample:
    loss_mask = np.zeros(n, np.bool_)
    loss_mask[list(actions)] = True
    return Sample(np.arange(n), loss_mask, np.where(loss_mask, -0.5, 0).astype(np.float32), loss_mask.astype(np.float32), weight)


def test_a_segments_advantage_lies_on_its_actions_alone():
    segment = Segment(np.array([7, 8, 9]), np.array([False, True, True]), np.zeros(3, np.float32), (TurnSpan(0, 1, 3, "stop"),), 0.7, "3")
    made = sample_from_segment(segment, 2.0, weight=3.0, role="attacker")
    assert made.advantages.tolist() == [0, 2, 2]
    assert (made.weight, made.temperature, made.reference_logprobs, made.trained_tokens) == (3.0, 0.7, None, 2)


def test_a_row_ends_with_its_last_action():
    """What is said to a player without room for an answer stands in the segment, beyond the context."""
    loss_mask = np.array([False, True, False, False])
    segment = Segment(np.arange(4), loss_mask, np.zeros(4, np.float32), (TurnSpan(0, 1, 2, "stop"), TurnSpan(2, 4, 4, "length")), 1.0, "3")
    made = sample_from_segment(segment, 2.0)
    assert made.ids.tolist() == [0, 1] and made.advantages.tolist() == [0, 2]
    assert len(made.loss_mask) == len(made.sampler_logprobs) == 2
    silent = sample_from_segment(replace(segment, loss_mask=np.zeros(4, np.bool_)), 2.0)
    assert (silent.trained_tokens, len(silent.ids)) == (0, 1)


def test_collate_points_at_the_token_before_each_action():
    batch = collate([sample(3, 1, 2), sample(5, 4, weight=2.0)])
    assert batch.ids.tolist() == [[0, 1, 2, 0, 0], [0, 1, 2, 3, 4]]
    assert (batch.positions, batch.lengths) == (None, (3, 5))
    assert batch.sample_index.tolist() == [0, 0, 1]
    assert batch.logit_index.tolist() == [0, 1, 8]
    assert batch.targets.tolist() == [1, 2, 4]
    assert batch.weights.tolist() == [1, 1, 2]
    assert torch.equal(batch.sampler_logprobs, torch.full((3,), -0.5))


def test_packed_rows_lie_one_after_the_other():
    batch = collate([sample(3, 1, 2), sample(5, 4)], packed=True)
    assert batch.ids.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4]]
    assert batch.positions is not None
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4]]
    assert (batch.sample_index.tolist(), batch.logit_index.tolist(), batch.targets.tolist()) == ([0, 0, 1], [0, 1, 6], [1, 2, 4])


def test_a_first_token_cannot_be_an_action():
    with pytest.raises(ValueError, match="first token"):
        collate([sft_sample([1, 2], [True, False])])


def test_micro_batches_hold_every_row_once_within_the_budget():
    samples = [sample(n, 1) for n in (9, 2, 30, 4, 4, 7)]
    parts = list(micro_batches(samples, 16))
    assert sorted(len(r.ids) for part in parts for r in part) == [2, 4, 4, 7, 9, 30]
    for part in parts:
        assert len(part) == 1 or max(len(r.ids) for r in part) * len(part) <= 16


def test_micro_batches_of_packed_rows_count_no_padding():
    samples = [sample(n, 1) for n in (9, 2, 30, 4, 4, 7)]
    parts = [[len(r.ids) for r in part] for part in micro_batches(samples, 17, packed=True)]
    assert parts == [[2, 4, 4, 7], [9], [30]]


def test_minibatches_are_drawn_by_the_seed_and_hold_every_row_once():
    samples = [sample(i + 2, 1) for i in range(10)]
    parts = minibatches(samples, 4, seed=1)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert sorted(len(r.ids) for part in parts for r in part) == list(range(2, 12))
    assert [[len(r.ids) for r in part] for part in parts] == [[len(r.ids) for r in part] for part in minibatches(samples, 4, seed=1)]
    assert [len(part) for part in minibatches(samples[:9], 4, seed=1)] == [4, 5]


def talk(*ids: int, trained: int = 1) -> Sample:
    """Its last tokens are trained on."""
    return sft_sample(ids, [i >= len(ids) - trained for i in range(len(ids))])


def test_equal_beginnings_lie_in_the_sequence_once():
    first, second, third = talk(5, 6, 7, 8, 9), talk(1, 2), talk(5, 6, 7, 4, 3, trained=3)
    batch = collate([first, second, third], packed=True, shared=True)
    # In the order of their tokens: 1 2, then 5 6 7 4 3, then 8 9 of the sample that begins with 5 6 7 too.
    assert batch.ids.tolist() == [[1, 2, 5, 6, 7, 4, 3, 8, 9]]
    assert (batch.lengths, batch.starts) == ((2, 5, 5), (0, 0, 3))
    assert batch.positions is not None
    assert batch.positions.tolist() == [[0, 1, 0, 1, 2, 3, 4, 3, 4]]
    assert batch.sample_index.tolist() == [0, 1, 2, 2, 2]
    assert batch.targets.tolist() == [9, 2, 7, 4, 3]
    # Before 9 there is 8 at index 7, before 2 there is 1 at 0, before 7, 4 and 3 there are 6, 7 and 4.
    assert batch.logit_index.tolist() == [7, 0, 3, 4, 5]


def test_equal_samples_keep_a_token_each():
    batch = collate([talk(5, 6, 7), talk(5, 6, 7), talk(5, 6)], packed=True, shared=True)
    assert batch.ids.tolist() == [[5, 6, 7, 7]]
    assert (batch.lengths, batch.starts) == ((2, 3, 3), (0, 2, 2))
    assert batch.logit_index.tolist() == [1, 1, 0]


def test_hardly_any_equal_tokens_stay_where_they_are():
    samples = [talk(5, *range(10, 20)), talk(5, *range(30, 40))]
    batch = collate(samples, packed=True, shared=True)
    assert (batch.starts, batch.ids.tolist()) == ((0, 0), [[*samples[0].ids, *samples[1].ids]])
    assert [len(part) for part in micro_batches(samples, 21, packed=True, shared=True)] == [1, 1]


def test_micro_batches_count_shared_tokens_once():
    one, other = [talk(*range(10), 50 + i) for i in range(4)], [talk(*range(20, 30), 50 + i) for i in range(3)]
    mixed = [one[0], other[0], one[1], other[1], one[2], other[2], one[3]]
    parts = [[sample.ids.tolist() for sample in part] for part in micro_batches(mixed, 13, packed=True, shared=True)]
    # 11 tokens, and one more for each that begins alike: three of them are 13.
    assert parts == [[s.ids.tolist() for s in group] for group in (one[:3], one[3:], other)]
    assert [len(part) for part in micro_batches(mixed, 13, packed=True)] == [1] * 7
