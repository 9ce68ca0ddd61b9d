"""The statistics of a table: values worked out by hand, and coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from sparring.benchmarks.reasoning.comparison import beyond_control, compare_tasks, exact_mcnemar, geometric_mean, needed
from sparring.benchmarks.reasoning.seeds import hierarchical_bootstrap, over_training_seeds
from sparring.selfplay.evaluation.statistics import Difference, paired_difference


def test_mcnemar_by_hand():
    # 1 lost and 9 won: 2 * (1 + 10) / 2^10
    before = [1] + [0] * 9 + [1] * 5
    after = [0] + [1] * 9 + [1] * 5
    assert exact_mcnemar(before, after) == pytest.approx(22 / 1024)
    assert exact_mcnemar([1, 0, 1], [1, 0, 1]) == 1.0, "models that never differ"
    assert exact_mcnemar([1] * 5 + [0] * 5, [0] * 5 + [1] * 5) == 1.0, "five against five"


def test_a_task_by_hand():
    before, after = [0, 0, 1, 1], [1, 1, 1, 0]
    row = compare_tasks({"t": before}, {"t": after}, {"t": ["a", "a", "b", "b"]})["t"]
    assert (row.before, row.after, row.difference.mean) == (0.5, 0.75, 0.25)
    # Differences 1, 1, 0, -1; centred sums by cluster 1.5 and -1.5; variance 4.5 * 2/1 / 16.
    assert row.difference.se == pytest.approx(0.75)
    assert row.difference.high - row.difference.mean == pytest.approx(0.75 * stats.t.ppf(0.975, 1))
    assert row.p == row.holm == 1.0


def test_holm_by_hand():
    def task(won: int) -> tuple[list[int], list[int]]:
        return [0] * won + [1] * 10, [1] * won + [1] * 10

    sides = {f"t{won}": task(won) for won in (6, 7, 10)}
    rows = compare_tasks(
        {k: v[0] for k, v in sides.items()}, {k: v[1] for k, v in sides.items()}, {k: list(range(len(v[0]))) for k, v in sides.items()}
    )
    assert [rows[f"t{won}"].p for won in (6, 7, 10)] == pytest.approx([2**-5, 2**-6, 2**-9])
    assert [rows[f"t{won}"].holm for won in (6, 7, 10)] == pytest.approx([2**-5, 2 * 2**-6, 3 * 2**-9])


def test_probabilities_are_tested_by_t_and_equal_ones_do_not_differ():
    same = compare_tasks({"t": [0.2, 0.4]}, {"t": [0.2, 0.4]}, {"t": [0, 1]})["t"]
    assert (same.p, same.needed) == (1.0, None)
    row = compare_tasks({"t": [0.1, 0.3, 0.2]}, {"t": [0.2, 0.5, 0.6]}, {"t": [0, 1, 2]})["t"]
    assert row.p == pytest.approx(stats.ttest_rel([0.2, 0.5, 0.6], [0.1, 0.3, 0.2]).pvalue)


def test_questions_needed_by_hand():
    # (1.960 + 0.842)^2 * 0.5^2 / 0.02^2
    difference = Difference(0.0, 0.0, 0.0, 0.5 / math.sqrt(100), 100, 100)
    assert needed(difference) == 4906


def test_the_geometric_mean_by_hand():
    before = {"a": [1, 0, 0, 0], "b": [1, 1, 1, 1]}
    after = {"a": [1, 1, 1, 1], "b": [1, 1, 1, 1]}
    clusters = {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3]}
    b, a, gain = geometric_mean(before, after, clusters)
    assert (b, a) == (0.5, 1.0)
    # Only a question of `a` before moves a mean: by 0.5 / (2 * 0.25) times its distance from 0.25.
    assert gain is not None and gain.mean == 0.5
    assert gain.high - gain.mean == pytest.approx(1.959964 * np.std([1, 0, 0, 0], ddof=1) / 2)
    assert geometric_mean({"a": [0, 0]}, {"a": [1, 1]}, {"a": [0, 1]}) == (0.0, 1.0, None)


def test_the_gain_is_beyond_the_control_that_gained_most():
    name, more = beyond_control([0, 0, 0, 0], [1, 1, 1, 0], {"weak": [0, 0, 0, 0], "strong": [1, 1, 0, 0]}, [0, 1, 2, 3])
    assert (name, more.mean) == ("strong", 0.25)


def test_seeds_by_hand():
    before = np.array([[0.0, 0.0, 0.0, 0.0]])
    after = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], float)
    found = over_training_seeds(before, after)
    gains = [0.5, 0.25, 0.0, 1.0]
    assert found.mean.mean == np.mean(gains) and found.iqm == 0.375
    assert found.mean.high == pytest.approx(np.mean(gains) + stats.t.ppf(0.975, 3) * np.std(gains, ddof=1) / 2)
    assert found.improvement == pytest.approx((4 + 4 + 2 + 4) / 16), "one seed of four ties with all"
    assert found.hierarchical.low < np.mean(gains) < found.hierarchical.high
    with pytest.raises(ValueError, match="at least 2 seeds"):
        over_training_seeds(before, after[:1])


def test_intervals_cover_what_they_claim():
    """800 tables of 40 questions in clusters of 4 that share half of their variance: cover 95 %, where questions taken alone cover 83 %."""
    rng = np.random.default_rng(0)
    covered = alone = 0
    for _ in range(800):
        shared = rng.normal(size=(10, 1)) * math.sqrt(0.5)
        after = (0.1 + shared + rng.normal(size=(10, 4)) * math.sqrt(0.5)).ravel()
        for labels in (np.repeat(np.arange(10), 4), np.arange(40)):
            row = paired_difference(np.zeros(40), after, labels)
            hit = row.low <= 0.1 <= row.high
            covered, alone = (covered + hit, alone) if len(set(labels)) == 10 else (covered, alone + hit)
    assert 0.93 < covered / 800 < 0.97
    assert alone / 800 < 0.88


def test_the_bootstrap_spreads_as_seeds_do():
    """Questions alike within a seed: the interval's width is that of resampled seeds."""
    gains = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    found = hierarchical_bootstrap(np.repeat(gains[:, None], 50, axis=1))
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(gains) / math.sqrt(5), rel=0.1)
