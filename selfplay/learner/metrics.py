"""What an update looked like: sums over its tokens, samples or pairs, that become the learner's metrics."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, tensor

from .batch import Sample
from .losses import MOST_WEIGHT


class MetricSums:
    """Sums what a step, or a round of them, looked like. trained_tokens: how many. first: whether the step is the first since
    sampling. largest: ratio, 0 where there was none."""

    def __init__(self, trained_tokens: int = 0, *, first: bool = False) -> None:
        self.trained_tokens = trained_tokens
        self.first = first
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.norms: list[float] = []
        self.largest = 0.0
        self.rate = 0.0

    @classmethod
    def from_state(cls, found: Mapping[str, Any]) -> "MetricSums":
        """The sums whose variables were these."""
        sums = cls()
        vars(sums).update(copy.deepcopy(dict(found)))
        return sums

    def add(self, prefix: str, **values: Tensor) -> None:
        for name, value in values.items():
            key = prefix + name
            self.sums[key] = self.sums.get(key, 0.0) + float(value.detach().sum())
            self.counts[key] = self.counts.get(key, 0) + value.numel()

    def add_by_role(self, values: Mapping[str, Tensor], units: Tensor, samples: Sequence[Sample]) -> None:
        """Values [U], in all and by role; units [U]: the sample of each."""
        self.add("", **values)
        for role in {sample.role for sample in samples} - {""}:
            own = tensor([sample.role == role for sample in samples], device=units.device)[units]
            self.add(f"{role}/", **{name: value[own] for name, value in values.items()})

    def add_ratio(self, log_ratio: Tensor, *, to_sampler: bool) -> None:
        """log_ratio [U]: of the policy to the behaviour policy; to_sampler: whether that is the sampler itself, so that the first
        step shows how far the learner's log-probabilities are from the sampler's."""
        ratio = log_ratio.exp()
        self.largest = max(self.largest, float(ratio.max()))
        if self.first and to_sampler:
            self.add("", mismatch_kl=ratio - 1 - log_ratio)

    def add_mismatch(self, log_ratio: Tensor) -> None:
        """log_ratio [U]: of the learner before its first step to the sampler, whose weights are the same and whose rounding is another."""
        ratio = log_ratio.exp()
        shares = {"sampling/sampling_logp_difference/mean": log_ratio.abs(), "sampling/importance_weight/capped": ratio > MOST_WEIGHT}
        self.add("", mismatch_kl=ratio - 1 - log_ratio, **{name: values.float() for name, values in shares.items()})

    def stepped(self, norm: float, rate: float) -> None:
        self.norms.append(norm)
        self.rate = rate

    def take(self, other: "MetricSums") -> None:
        """Adds another's sums to these."""
        for name, value in other.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + other.counts[name]
        self.trained_tokens += other.trained_tokens
        self.norms += other.norms
        self.largest = max(self.largest, other.largest)
        self.rate = other.rate

    def metrics(self) -> dict[str, float]:
        if not self.norms:
            return {}
        found = {name: self.sums[name] / self.counts[name] for name in sorted(self.sums)}
        found["grad_norm"] = sum(self.norms) / len(self.norms)
        if self.largest:
            found["sampling/importance_sampling_ratio/max"] = self.largest
        found["learning_rate"] = self.rate
        found["steps"] = len(self.norms)
        found["trained_tokens"] = self.trained_tokens
        return found
