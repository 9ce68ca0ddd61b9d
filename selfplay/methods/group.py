"""Group-relative policy gradient: each game is compared with the games about the same word, in the same role, against the same opponent
(GRPO, arXiv 2402.03300, without its division by the standard deviation, arXiv 2503.20783)."""

from ..config.config import TrainConfig
from ..objectives.credit import group_samples
from ..objectives.returns import outcome_returns
from ..run.collectors import games
from ..run.method import Method
from ..run.recipe import DROP_REASONS, dropping, needs_groups, options_of, policy_loss, policy_reference


def method(config: TrainConfig) -> Method:
    options_of(config, DROP_REASONS)
    needs_groups(config)
    return Method(
        name="group",
        collect=games,
        reward=outcome_returns,
        credit=dropping(config, group_samples),
        loss=policy_loss(config),
        reference=policy_reference(config),
    )
