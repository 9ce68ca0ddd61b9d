"""A baseline: supervised learning from the winners' side of new games of scripted experts. Option: like, as of the method expert."""

from ..config.config import TrainConfig
from ..run.method import Method
from .expert import sft_method


def method(config: TrainConfig) -> Method:
    return sft_method(config, "winning-expert", winners_only=True)
