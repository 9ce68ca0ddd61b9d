"""DPO on games (arXiv 2305.18290): of two games about the same word, the side that won is preferred to the side that lost."""

from typing import Literal

from ..collectors import games
from ..config import TrainConfig
from ..method import Method
from ..objectives.credit import preference_pairs
from ..objectives.preference_loss import PreferenceLoss
from ..objectives.returns import outcome_returns
from ..recipe import dropping, needs_groups, options_of


def method(config: TrainConfig) -> Method:
    return preferences(config, "dpo")


def preferences(config: TrainConfig, form: Literal["dpo", "ipo"]) -> Method:
    """Pairs of games won and lost, under one of the two losses."""
    options_of(config)
    needs_groups(config)
    return Method(
        name=form,
        collect=games,
        reward=outcome_returns,
        credit=dropping(config, preference_pairs),
        loss=PreferenceLoss(form, config.learner.beta),
        reference=config.learner.reference,
    )
