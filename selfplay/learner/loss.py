"""What the learner asks of a loss, whatever method it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from .batch import TokenBatch
from .scoring import Scores


@dataclass(frozen=True)
class LossOutput:
    """losses [U], one per unit. metrics: values of any shape by name, of which the mean is reported. role_metrics: values [U] by name,
    reported in all and per role. log_ratio [U]: log pi / pi_behaviour, where the loss has a ratio. to_sampler [U]: log pi_old / pi_sampler,
    where the behaviour policy is the learner's old one."""

    losses: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    role_metrics: Mapping[str, Tensor] = field(default_factory=dict)
    log_ratio: Tensor | None = None
    to_sampler: Tensor | None = None


class Loss(Protocol):
    """What is made of scored samples. unit: what one entry of its losses is of; a pair's samples lie side by side, the chosen one first.
    entropies: whether the entropy of the policy is to be reported. kl: weight of a KL to the reference policy, 0 for none."""

    @property
    def unit(self) -> Literal["token", "sample", "pair"]: ...
    @property
    def entropies(self) -> bool: ...
    @property
    def kl(self) -> float: ...
    def exact_kl(self, vocabulary: int) -> bool:
        """Whether it wants the KL to the reference summed over the whole vocabulary (`Scores.kl`)."""
        ...

    def __call__(self, batch: TokenBatch, scores: Scores) -> LossOutput: ...
