"""Losses of supervised fine-tuning (SFT): the negative log-likelihood of demonstrations."""

from dataclasses import dataclass
from typing import Literal

from ..learner.batch import TokenBatch
from ..learner.loss import LossOutput
from ..learner.losses import sample_means, sft_with_kl_loss
from ..learner.scoring import Scores


@dataclass(frozen=True)
class SFTLoss:
    """Cross-entropy of each token. metric: what it is called among the learner's metrics."""

    metric: str = "sft_loss"

    @property
    def unit(self) -> Literal["token"]:
        return "token"

    @property
    def entropies(self) -> bool:
        return False

    @property
    def kl(self) -> float:
        return 0.0

    def exact_kl(self, vocabulary: int) -> bool:
        return False

    def __call__(self, batch: TokenBatch, scores: Scores) -> LossOutput:
        return LossOutput(-scores.logprobs, {self.metric: -scores.logprobs})


@dataclass(frozen=True)
class SFTWithKLLoss:
    """SPAG's SFT loss: cross-entropy per sample with a KL to the initial model, whose log-probabilities the samples hold as
    reference."""

    kl: float

    @property
    def unit(self) -> Literal["sample"]:
        return "sample"

    @property
    def entropies(self) -> bool:
        return False

    def exact_kl(self, vocabulary: int) -> bool:
        return False

    def __call__(self, batch: TokenBatch, scores: Scores) -> LossOutput:
        if batch.reference_logprobs is None:
            raise ValueError("SFT with a KL needs the reference's log-probabilities")
        now, reference = (sample_means(x, batch.sample_index, len(batch.lengths)) for x in (scores.logprobs, batch.reference_logprobs))
        return LossOutput(sft_with_kl_loss(now, reference, kl=self.kl), {"sft_loss": -scores.logprobs})
