"""DPO on games (arXiv 2305.18290): of two games about the same word, the side that won is preferred to the side that lost."""

from collections.abc import Callable

from torch import Tensor

from ..config.config import TrainConfig
from ..learner.losses import dpo_loss
from ..objectives.credit import preference_pairs
from ..objectives.preference_loss import PreferenceLoss
from ..objectives.returns import outcome_returns
from ..run.collectors import games
from ..run.method import Method
from ..run.recipe import DROP_REASONS, beta_of, dropping, needs_groups, options_of


def method(config: TrainConfig) -> Method:
    return preferences(config, "dpo", dpo_loss)


def preferences(config: TrainConfig, name: str, form: Callable[..., Tensor]) -> Method:
    """Pairs of games won and lost, under one of the two losses."""
    options = options_of(config, "beta", DROP_REASONS)
    needs_groups(config)
    return Method(
        name=name,
        collect=games,
        reward=outcome_returns,
        credit=dropping(config, preference_pairs),
        loss=PreferenceLoss(form, beta_of(options)),
        reference=config.learner.reference,
    )
