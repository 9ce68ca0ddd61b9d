"""The policy gradient: a clipped ratio to the sampler, and a KL penalty to the reference policy."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..learner.batch import TokenBatch
from ..learner.loss import LossOutput
from ..learner.losses import clipped_policy_loss, kl_in_reward, sample_means, sampled_kl, sampler_weights
from ..learner.scoring import Scores

SMALL_VOCABULARY = 8192
"""Up to this size "auto" computes the KL exactly; above it estimates it on the sampled tokens."""


@dataclass(frozen=True)
class PolicyLoss:
    """Clipped policy loss (PPO, arXiv 1707.06347, eq. 7), per token, or per sample of its mean log-probabilities (SPAG as published).

    clip_low, clip_high: the ratio counts inside [1 - low, 1 + high]. kl: weight of the KL to the reference. kl_form: exact (over the
    vocabulary), sampled (ratio * k3 on the sampled tokens), reward (k1, subtracted from the advantages), auto (exact for small
    vocabularies, else sampled). detach_kl: no gradient flows through a KL in the reward.

    The ratio is to the sampler's log-probabilities; of samples that were not sampled as they stand, to the reference's. Where the learner's
    own old log-probabilities are known it is to those, and losses are weighted by how likelier the old policy was than the sampler, at most
    twice. Without a reference there is no penalty.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: float = 0.0
    kl_form: Literal["auto", "exact", "sampled", "reward"] = "auto"
    unit: Literal["token", "sample"] = "token"
    detach_kl: bool = True

    @property
    def entropies(self) -> bool:
        return True

    def exact_kl(self, vocabulary: int) -> bool:
        return self.kl_form == "exact" or (self.kl_form == "auto" and vocabulary <= SMALL_VOCABULARY)

    def __call__(self, batch: TokenBatch, scores: Scores) -> LossOutput:
        def of_units(values: Tensor | None) -> Tensor | None:
            return values if self.unit == "token" or values is None else sample_means(values, batch.sample_index, len(batch.lengths))

        logprobs, advantages = of_units(scores.logprobs), of_units(batch.advantages)
        reference = of_units(batch.reference_logprobs)
        sampler, old = of_units(batch.sampler_logprobs), of_units(batch.old_logprobs)
        sampler = reference if sampler is None else sampler
        behaviour = sampler if old is None else old
        if logprobs is None or advantages is None or sampler is None or behaviour is None:
            raise ValueError("policy samples need the sampler's log-probabilities, or the reference's in their place")
        metrics: dict[str, Tensor] = {}
        penalised = self.kl > 0 and (scores.kl is not None or reference is not None)
        rewarded = penalised and self.kl_form == "reward" and reference is not None
        if rewarded:
            assert reference is not None
            advantages = kl_in_reward(advantages, logprobs, reference, kl=self.kl, detach=self.detach_kl)
        losses = clipped_policy_loss(logprobs, behaviour, advantages, low=self.clip_low, high=self.clip_high)
        if old is not None:
            losses = losses * sampler_weights(old, sampler)
        metrics["policy_loss"] = losses
        if rewarded:
            assert reference is not None
            metrics["kl"] = logprobs - reference
        elif penalised:
            if scores.kl is not None:
                metrics["kl"] = scores.kl
            else:
                assert reference is not None
                metrics["kl"] = sampled_kl(logprobs, sampler, reference)
            losses = losses + self.kl * metrics["kl"]
        change = (logprobs - behaviour).detach()
        metrics["clip_ratio/region_mean"] = self._clipped(change.exp(), advantages).float()
        return LossOutput(losses, role_metrics=metrics, log_ratio=change, to_sampler=None if old is None else old - sampler)

    def _clipped(self, ratio: Tensor, advantages: Tensor) -> Tensor:
        """Where the clip is in force [U]."""
        above = (ratio > 1 + self.clip_high) & (advantages > 0)
        return torch.logical_or(above, (ratio < 1 - self.clip_low) & (advantages < 0))
