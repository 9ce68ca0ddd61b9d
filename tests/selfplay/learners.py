"""Learners as tests want them: the policy loss of a configuration, unless another loss is asked for."""

from dataclasses import replace
from typing import Any

import numpy as np

from sparring.selfplay.config.config import LearnerConfig
from sparring.selfplay.learner.batch import Sample
from sparring.selfplay.learner.learner import Learner
from sparring.selfplay.learner.loss import Loss
from sparring.selfplay.learner.portions import Split, whole_step
from sparring.selfplay.learner.scoring import Scorer, action_logprobs
from sparring.selfplay.objectives.policy_loss import PolicyLoss
from sparring.selfplay.objectives.sft_loss import SFTLoss


def learner_of(
    model: Any, loss: Loss | None = None, *, reference: Any = None, config: LearnerConfig, split: Split = whole_step, **options: Any
) -> Learner:
    loss = loss or PolicyLoss(*config.clip, config.kl, config.kl_form)
    return Learner(model, loss, sft_mix_loss=SFTLoss("sft_mix_loss"), reference=reference, config=config, split=split, **options)


def sampled_by(model: Any, samples: list[Sample]) -> list[Sample]:
    """Samples as if the model had sampled them: with the log-probabilities that it gives them."""
    scored = action_logprobs(Scorer(model), samples, 1)
    return [replace(sample, sampler_logprobs=np.array(values)) for sample, values in zip(samples, scored, strict=True)]
