"""The policy loss against numbers worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sparring.selfplay.learner.batch import Sample, TokenBatch, collate
from sparring.selfplay.learner.scoring import Scores
from sparring.selfplay.objectives.policy_loss import PolicyLoss


def batch(sampler: list[float], advantages: list[float], old: list[float] | None = None) -> TokenBatch:
    """One sample with as many trained tokens as there are numbers."""

    def after_first(values: list[float]) -> np.ndarray:
        return np.array([0.0, *values], np.float32)

    ids, mask = np.arange(len(sampler) + 1), np.array([False] + [True] * len(sampler))
    sample = Sample(ids, mask, after_first(sampler), after_first(advantages))
    return collate([sample if old is None else replace(sample, old_logprobs=after_first(old))])


def test_without_old_log_probabilities_the_ratio_is_to_the_sampler():
    output = PolicyLoss()(batch([-1.0, -1.0], [1.0, -1.0]), Scores(torch.tensor([-0.9, -0.5]), None, None))
    # exp(0.1) * 1, and exp(0.5) * -1, which a clip from above does not hold back.
    assert output.losses.tolist() == pytest.approx([-math.exp(0.1), math.exp(0.5)])
    assert output.to_sampler is None


def test_the_ratio_is_to_old_log_probabilities_and_the_loss_weighs_by_the_sampler():
    sampler, old = [-1.5, -2.5, -1.0], [-1.0, -1.0, -1.2]
    output = PolicyLoss()(batch(sampler, [1.0, 1.0, -2.0], old), Scores(torch.tensor([-0.9, -0.5, -1.2]), None, None))
    # Weights exp(0.5), exp(1.5) cut to 2, exp(-0.2); ratios exp(0.1), exp(0.5) clipped to 1.2, 1.
    assert output.losses.tolist() == pytest.approx([-math.exp(0.6), -2 * 1.2, 2 * math.exp(-0.2)])
    assert output.log_ratio is not None and output.log_ratio.tolist() == pytest.approx([0.1, 0.5, 0.0])
    assert output.to_sampler is not None and output.to_sampler.tolist() == pytest.approx([0.5, 1.5, -0.2])
