"""Intervals against known numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sparring.selfplay.evaluation.statistics import holm, mcnemar, over_seeds, paired_difference, wilson


def test_wilson_against_scipy():
    for wins, n in ((0, 10), (3, 10), (10, 10), (50, 200)):
        expected = stats.binomtest(wins, n).proportion_ci(0.95, method="wilson")
        assert wilson(wins, n) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("wins", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_what_is_no_rate(wins: int, n: int):
    with pytest.raises(ValueError, match="a rate needs"):
        wilson(wins, n)


def test_a_paired_difference_against_scipy():
    rng = np.random.default_rng(0)
    before, after = rng.random(40), rng.random(40)
    found = paired_difference(before, after)
    expected = stats.ttest_rel(after, before).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx(((after - before).mean(), expected.low, expected.high))


def test_repeating_every_pair_does_not_shrink_a_clustered_interval():
    rng = np.random.default_rng(0)
    before, after = rng.random(30), rng.random(30)
    once = paired_difference(before, after)
    thrice = paired_difference(np.tile(before, 3), np.tile(after, 3), clusters=np.tile(np.arange(30), 3))
    assert (thrice.low, thrice.high, thrice.clusters, thrice.n) == pytest.approx((once.low, once.high, 30, 90))


def test_a_single_cluster_has_no_interval():
    with pytest.raises(ValueError, match="at least 2"):
        paired_difference([0, 1], [1, 1], clusters=["a", "a"])


def test_the_mean_over_seeds():
    found = over_seeds([0.1, 0.2, 0.3])
    expected = stats.t.interval(0.95, 2, loc=0.2, scale=stats.sem([0.1, 0.2, 0.3]))
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((0.2, *expected, 3))
    assert over_seeds([0.5]) == (0.5, None, None, 1)


@given(st.integers(1, 500), st.data())
def test_a_wilson_interval_holds_its_rate(n: int, data: st.DataObject):
    wins = data.draw(st.integers(0, n))
    low, high = wilson(wins, n)
    assert 0 <= low <= wins / n + 1e-12
    assert wins / n - 1e-12 <= high <= 1


def test_holm_by_hand_and_against_statsmodels():
    """0.01, 0.03, 0.04 of three: 3 * 0.01, then 2 * 0.03, then 0.04 raised to the one before it."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]
    drawn = np.random.default_rng(0).random(20) ** 4
    assert holm(list(drawn)) == pytest.approx(multipletests(drawn, method="holm")[1])


@pytest.mark.parametrize(("better", "worse", "p"), [(0, 0, 1.0), (5, 5, 1.0), (5, 6, 1.0), (0, 5, 2 / 2**5), (3, 0, 0.25)])
def test_mcnemar_is_exact(better: int, worse: int, p: float):
    """What never differs is not significantly different, and an even split has p = 1."""
    assert mcnemar(better, worse) == mcnemar(worse, better) == pytest.approx(p)


def test_a_difference_that_is_the_same_everywhere_has_an_interval_of_no_width():
    found = paired_difference(np.zeros(12), np.full(12, 0.5), clusters=np.repeat(np.arange(4), 3))
    assert (found.low, found.mean, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert paired_difference(np.ones(5), np.ones(5))[:4] == (0, 0, 0, 0)
