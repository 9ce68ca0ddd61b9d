"""A baseline: supervised learning from new games of scripted experts. Option: like, the run whose trained tokens per round are matched."""

from functools import partial
from pathlib import Path

from ..config.config import TrainConfig
from ..objectives.credit import given_examples
from ..objectives.returns import outcome_returns
from ..objectives.sft_loss import SFTLoss
from ..run.collectors import demonstrations
from ..run.demonstrations import tokens_of
from ..run.method import Method
from ..run.recipe import needs_experts, options_of


def method(config: TrainConfig) -> Method:
    return sft_method(config, "expert")


def sft_method(config: TrainConfig, name: str, *, winners_only: bool = False) -> Method:
    """Experts' talk, or their winners' side alone. Raises ValueError where the run to match lacks a round."""
    run = options_of(config, "like").get("like")
    needs_experts(config)
    like = Path(run) if run else None
    if like is not None:
        for number in range(1, config.rounds + 1):
            tokens_of(like, number)
    return Method(
        name=name,
        collect=partial(demonstrations, winners_only=winners_only, like=like),
        reward=outcome_returns,
        credit=given_examples,
        loss=SFTLoss(),
        baseline=True,
    )
