"""IPO on games (arXiv 2310.12036): DPO's pairs under a squared loss that does not run away where preferences are certain."""

from ..config.config import TrainConfig
from ..learner.losses import ipo_loss
from ..run.method import Method
from .dpo import preferences


def method(config: TrainConfig) -> Method:
    return preferences(config, "ipo", ipo_loss)
