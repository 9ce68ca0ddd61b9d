"""Intervals and paired comparisons. Nothing here knows models or games.

Source of the choices: E. Miller, "Adding error bars to evals" (arXiv 2411.00640); Wilson (1927).
"""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """A mean paired difference with its 95 % interval. n: pairs; clusters: independent groups of them; se: standard error."""

    mean: float
    low: float
    high: float
    se: float
    n: int
    clusters: int


def wilson(wins: int, n: int) -> Interval:
    """Wilson's score interval of a rate. Raises ValueError without trials, or for wins outside [0, n]."""
    if n < 1 or not 0 <= wins <= n:
        raise ValueError(f"a rate needs 0 <= wins <= n and n >= 1, got {wins} of {n}")
    low, high = stats.binomtest(wins, n).proportion_ci(0.95, method="wilson")
    return Interval(float(low), float(high))


def paired_difference(before: ArrayLike, after: ArrayLike, clusters: Sequence[Hashable] | ArrayLike | None = None) -> Difference:
    """The mean of after - before over pairs, with a Student interval over clusters.

    before, after: [n]. clusters: [n], equal where pairs are not independent (one word, one document); None takes each pair for itself.
    The standard error is the cluster-robust one with its small-sample factor G/(G-1). Raises ValueError for unequal lengths or fewer than
    two clusters.
    """
    from statsmodels.regression.linear_model import OLS

    difference = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    labels = np.arange(len(difference)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    if len(labels) != len(difference):
        raise ValueError(f"{len(difference)} pairs, but {len(labels)} cluster labels")
    groups = int(labels.max()) + 1 if len(labels) else 0
    if groups < 2:
        raise ValueError(f"a paired interval needs at least 2 independent groups, got {groups}")
    fit = OLS(difference, np.ones(len(difference))).fit(cov_type="cluster", cov_kwds={"groups": labels}, use_t=True)
    (mean,), (se,), ((low, high),) = fit.params.tolist(), fit.bse.tolist(), fit.conf_int().tolist()
    return Difference(mean, low, high, se, len(difference), groups)


def mcnemar(better: int, worse: int) -> float:
    """The exact p-value of McNemar's test: of so many pairs better and worse, or more unequal, where both are equally likely. The
    approximations are not used: they call models that never differ significantly different (findings/mcnemar.sh)."""
    from statsmodels.stats.contingency_tables import mcnemar as test

    return float(test([[0, better], [worse, 0]], exact=True).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979): rejecting those below a level keeps the chance of any false rejection below it.

    NOTE: statsmodels' multipletests gives the same, but runs the garbage collector in each call, 0.6 s where torch is loaded
    (findings/multipletests_gc.sh).
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return [float(value) for value in adjusted]


class Mean(NamedTuple):
    """A mean over independent runs with its 95 % Student interval; low and high are None for a single run."""

    mean: float
    low: float | None
    high: float | None
    n: int


def over_seeds(values: Sequence[float]) -> Mean:
    """The mean over training seeds: the unit of repetition of a claim about training."""
    data = np.asarray(values, np.float64)
    if not len(data):
        raise ValueError("no values to average")
    mean = float(data.mean())
    if len(data) == 1:
        return Mean(mean, None, None, 1)
    half = float(stats.t.ppf(0.975, len(data) - 1)) * float(data.std(ddof=1)) / math.sqrt(len(data))
    return Mean(mean, mean - half, mean + half, len(data))
