"""Losses of pairs: the chosen sample is to become likelier than the rejected one, compared with the reference policy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..learner.batch import TokenBatch
from ..learner.loss import LossOutput
from ..learner.losses import dpo_loss, sample_sums
from ..learner.scoring import Scores


@dataclass(frozen=True)
class PreferenceLoss:
    """A loss of pairs that hold the reference's log-probabilities. form: `dpo_loss` or `ipo_loss`. beta: strength of the pull to the
    reference; SPIN's lambda."""

    form: Callable[..., Tensor] = dpo_loss
    beta: float = 0.1

    @property
    def unit(self) -> Literal["pair"]:
        return "pair"

    @property
    def entropies(self) -> bool:
        return True

    @property
    def kl(self) -> float:
        return 0.0

    def exact_kl(self, vocabulary: int) -> bool:
        return False

    def __call__(self, batch: TokenBatch, scores: Scores) -> LossOutput:
        if batch.reference_logprobs is None:
            raise ValueError("pairs need the reference's log-probabilities")
        ratios = sample_sums(scores.logprobs - batch.reference_logprobs, batch.sample_index, len(batch.lengths))
        chosen, rejected = ratios[0::2], ratios[1::2]
        losses = self.form(chosen, rejected, beta=self.beta)
        margins = self.beta * (chosen - rejected)
        rewards = {"rewards/chosen": self.beta * chosen, "rewards/rejected": self.beta * rejected}
        rewards |= {"rewards/margins": margins, "rewards/accuracies": (margins > 0).float()}
        return LossOutput(losses, {"preference_loss": losses, **rewards})
