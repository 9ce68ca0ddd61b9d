"""Turn-level advantages with per-role normalisation (MARSHAL, arXiv 2510.15414): each turn's discounted return-to-go, compared with all
turns of the same role in the round. Option: discount, in (0, 1]."""

from functools import partial

from ..config.config import TrainConfig
from ..objectives.credit import turn_samples
from ..objectives.returns import outcome_returns
from ..run.collectors import games
from ..run.method import Method
from ..run.recipe import DROP_REASONS, dropping, number, options_of, policy_loss, policy_reference


def method(config: TrainConfig) -> Method:
    discount = number(options_of(config, "discount", DROP_REASONS), "discount", default=1.0, low=0.0, high=1.0)
    return Method(
        name="turns",
        collect=games,
        reward=outcome_returns,
        credit=dropping(config, partial(turn_samples, discount=discount)),
        loss=policy_loss(config),
        reference=policy_reference(config),
    )
