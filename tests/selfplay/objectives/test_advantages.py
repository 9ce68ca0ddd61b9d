"""Advantages against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.selfplay.objectives.advantages import group_relative, role_weights, running_baseline, spag_turn_rewards


def test_group_relative_by_hand():
    found = group_relative([1, -1, 1, 0], ["a", "a", "b", "b"])
    assert found.tolist() == [1, -1, 0.5, -0.5]


@given(st.lists(st.tuples(st.floats(-1, 1), st.sampled_from("abc")), min_size=1, max_size=30))
def test_advantages_of_a_group_sum_to_zero(games: list[tuple[float, str]]):
    returns, keys = [g[0] for g in games], [g[1] for g in games]
    found = group_relative(returns, keys)
    for key in set(keys):
        assert sum(a for a, k in zip(found, keys, strict=True) if k == key) == pytest.approx(0, abs=1e-4)


def test_the_running_baseline_is_taken_before_the_game():
    found, baselines = running_baseline([1, 1, -1], ["x", "x", "y"], {"x": 0.2}, decay=0.5)
    assert found.tolist() == pytest.approx([0.8, 0.4, -1.0])
    assert baselines == pytest.approx({"x": 0.8, "y": -0.5})


def test_spag_rewards_of_a_game_worked_by_hand():
    # (1/0.8)^k: 1, 1.25, 1.5625; their sum is 3.8125.
    assert spag_turn_rewards(3).tolist() == pytest.approx([1 / 3.8125, 1.25 / 3.8125, 1.5625 / 3.8125])
    assert np.isclose(spag_turn_rewards(5).sum(), 1)


def test_role_weights_are_capped():
    assert role_weights(["a"] * 3 + ["d"]) == {"a": 4 / 6, "d": 2.0}
    assert role_weights(["a"] * 99 + ["d"])["d"] == 4.0
