"""A training method of your own, in one file: REINFORCE on long games only.

sparring train --method docs/examples/own_method.py:method --rounds 1
"""

from collections.abc import Sequence

from sparring.agents.rollout import Episode
from sparring.selfplay.config.config import TrainConfig
from sparring.selfplay.objectives.credit import group_samples
from sparring.selfplay.objectives.policy_loss import PolicyLoss
from sparring.selfplay.objectives.returns import Returns, outcome_returns
from sparring.selfplay.run.collectors import games
from sparring.selfplay.run.method import Method


def long_games(episodes: Sequence[Episode], seed: int) -> Returns:
    """The games' own utilities, without games of fewer than four utterances."""
    long = [p for p in episodes if len(p.state.utterances) >= 4]
    return outcome_returns(long, seed)


def method(config: TrainConfig) -> Method:
    return Method("long-games", collect=games, reward=long_games, credit=group_samples, loss=PolicyLoss())
