"""Role-conditioned advantage estimation: each game is compared with a running baseline of its role (SPIRAL, arXiv 2506.24119, eq. 3)."""

from ..config.config import TrainConfig
from ..objectives.credit import baseline_samples
from ..objectives.returns import outcome_returns
from ..run.collectors import games
from ..run.method import Method
from ..run.recipe import DROP_REASONS, dropping, options_of, policy_loss, policy_reference


def method(config: TrainConfig) -> Method:
    options_of(config, DROP_REASONS)
    return Method(
        name="rae",
        collect=games,
        reward=outcome_returns,
        credit=dropping(config, baseline_samples),
        loss=policy_loss(config),
        reference=policy_reference(config),
    )
