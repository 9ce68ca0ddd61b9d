"""Advantages: how much better a game went than expected. Pure functions of returns; they know no tokens."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def group_relative(returns: Sequence[float], keys: Sequence[Hashable]) -> NDArray[np.float32]:
    """Return minus the mean of its group, shape [n]. keys: what makes a group; for a zero-sum game it must hold the role, or the mean is 0
    and mixes roles (METHODS: (word, role, opponent)). Not divided by the deviation, which would weigh easy words like hard ones (Dr. GRPO,
    arXiv 2503.20783).
    """
    return centred(np.asarray(returns, np.float64), keys)


def centred(values: NDArray[np.float64], keys: Sequence[Hashable]) -> NDArray[np.float32]:
    """Values [n] minus the mean of those that share their key, shape [n]."""
    sums: defaultdict[Hashable, float] = defaultdict(float)
    counts: Counter[Hashable] = Counter()
    for value, key in zip(values, keys, strict=True):
        sums[key] += float(value)
        counts[key] += 1
    means = np.array([sums[key] / counts[key] for key in keys])
    advantages: NDArray[np.float32] = (values - means).astype(np.float32)
    return advantages


def returns_to_go(reward: float, turns: int, discount: float = 1.0) -> NDArray[np.float64]:
    """The discounted return from each turn on, shape [turns], of a game whose only reward comes after its last turn: the k-th of K is
    discount^(K - k) times it."""
    return reward * discount ** np.arange(turns - 1, -1, -1, dtype=np.float64)


def running_baseline(
    returns: Sequence[float], keys: Sequence[str], baselines: Mapping[str, float], decay: float = 0.95
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """Role-conditioned advantage estimation (SPIRAL, arXiv 2506.24119, eq. 3): A = R - b with the baseline *before* this game, then
    b <- decay b + (1 - decay) R. keys: of the baselines, (game and) role. Give games in an order that does not depend on timing.

    Returns advantages [n] and the new baselines; a key not seen before starts at 0.
    """
    new = dict(baselines)
    found = np.zeros(len(returns), np.float32)
    for i, (value, key) in enumerate(zip(returns, keys, strict=True)):
        before = new.get(key, 0.0)
        found[i] = value - before
        new[key] = decay * before + (1 - decay) * value
    return found, new


def spag_turn_rewards(turns: int, decay: float = 0.8) -> NDArray[np.float32]:
    """The rewards of a winner's turns, shape [turns]: (1/decay)^k / sum_j (1/decay)^j, so that they sum to 1 and later turns weigh more
    (SPAG, arXiv 2404.10642, and its code).
    """
    powers = (1 / decay) ** np.arange(turns)
    rewards: NDArray[np.float32] = (powers / powers.sum()).astype(np.float32)
    return rewards


def role_weights(winners: Sequence[str], cap: float = 4.0) -> dict[str, float]:
    """N_all / (2 N_role) per role that won, at most `cap` (SPAG weighs roles so, without a cap: a role that hardly wins would rule)."""
    counts = Counter(winners)
    return {role: min(cap, len(winners) / (2 * count)) for role, count in counts.items()}
