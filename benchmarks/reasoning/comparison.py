"""Before and after, question by question: intervals and tests of one table. Knows scores, no models.

Sources: E. Miller, "Adding error bars to evals" (arXiv 2411.00640) for paired, clustered intervals; McNemar's
test in its exact form alone (the approximation gives p = 0 where two models never differ); Holm (1979) over
the tasks of a table.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_sample_size_one_tail

from sparring.selfplay.evaluation.statistics import Difference, paired_difference

POINTS = 0.02
"""The difference whose visibility `needed` is about."""
POWER = 0.8


class Compared(NamedTuple):
    """One task of a table. difference: of after - before, paired and clustered. p: of the exact McNemar
    test where scores are 0 or 1, else of the clustered t test. holm: p adjusted over the tasks of the
    table. needed: questions that would show a difference of 2 points at 5 % with power 0.8, as these vary;
    None where no answer differs."""

    before: float
    after: float
    difference: Difference
    p: float
    holm: float
    needed: int | None


class Gain(NamedTuple):
    """A difference with its 95 % interval."""

    mean: float
    low: float
    high: float


def compare_tasks(
    before: Mapping[str, ArrayLike],
    after: Mapping[str, ArrayLike],
    clusters: Mapping[str, Sequence[Hashable]],
) -> dict[str, Compared]:
    """By task, scores [n] of the same questions before and after. Raises ValueError where a task has fewer
    than two clusters."""
    rows: dict[str, tuple[float, float, Difference, float]] = {}
    for task in before:
        b, a = np.asarray(before[task], np.float64), np.asarray(after[task], np.float64)
        difference = paired_difference(b, a, clusters[task])
        binary = bool(np.isin(b, (0, 1)).all() and np.isin(a, (0, 1)).all())
        rows[task] = (
            float(b.mean()),
            float(a.mean()),
            difference,
            exact_mcnemar(b, a) if binary else _t_test(difference),
        )
    adjusted = multipletests([row[3] for row in rows.values()], method="holm")[1] if rows else []
    return {task: Compared(*row, float(p), needed(row[2])) for (task, row), p in zip(rows.items(), adjusted, strict=True)}


def exact_mcnemar(before: ArrayLike, after: ArrayLike) -> float:
    """The p-value of equal accuracy. before, after: [n], 0 or 1. Questions count as independent, whatever
    their clusters."""
    b, a = np.asarray(before, bool), np.asarray(after, bool)
    table = [[int((b & a).sum()), int((b & ~a).sum())], [int((~b & a).sum()), int((~b & ~a).sum())]]
    return float(mcnemar(table, exact=True).pvalue)


def _t_test(difference: Difference) -> float:
    if difference.se == 0:
        return 1.0 if difference.mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(difference.mean / difference.se), difference.clusters - 1))


def needed(difference: Difference) -> int | None:
    """Questions that show a difference of `POINTS`. The spread is that of these pairs, clustering included."""
    spread = difference.se * math.sqrt(difference.n)
    if spread == 0:
        return None
    return int(np.ceil(normal_sample_size_one_tail(POINTS, POWER, 0.025, std_null=spread)))  # two-sided at 5 %


def geometric_mean(
    before: Mapping[str, ArrayLike],
    after: Mapping[str, ArrayLike],
    clusters: Mapping[str, Sequence[Hashable]],
) -> tuple[float, float, Gain | None]:
    """The geometric mean of the tasks' scores before and after, and its difference with a 95 % interval by
    the delta method: per question how far it moves the mean, tasks independent. None for the interval
    where a score is 0."""
    b = {task: np.asarray(values, np.float64) for task, values in before.items()}
    a = {task: np.asarray(values, np.float64) for task, values in after.items()}
    mean_b, mean_a = (float(stats.gmean([values.mean() for values in side.values()])) for side in (b, a))
    if not mean_b or not mean_a:
        return mean_b, mean_a, None
    variance = 0.0
    for task in b:
        moved_b, moved_a = (_influence(mean, side[task], len(b)) for mean, side in ((mean_b, b), (mean_a, a)))
        variance += paired_difference(moved_b, moved_a, clusters[task]).se ** 2
    half = float(stats.norm.ppf(0.975)) * math.sqrt(variance)
    return mean_b, mean_a, Gain(mean_a - mean_b, mean_a - mean_b - half, mean_a - mean_b + half)


def _influence(mean: float, scores: NDArray[np.float64], tasks: int) -> NDArray[np.float64]:
    """How far each question of a task moves the geometric mean of all tasks."""
    moved: NDArray[np.float64] = mean / (tasks * scores.mean()) * (scores - scores.mean())
    return moved


def beyond_control(
    before: ArrayLike, after: ArrayLike, controls: Mapping[str, ArrayLike], clusters: Sequence[Hashable]
) -> tuple[str, Difference]:
    """The control that gained most, and how much more the model gained than it (paired: the model's before
    and the controls' are the same)."""
    means = {name: float(np.mean(np.asarray(scores, np.float64))) for name, scores in controls.items()}
    best = max(means, key=means.__getitem__)
    return best, paired_difference(controls[best], after, clusters)
