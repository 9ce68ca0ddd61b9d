"""Alarms: each metric beyond its limit raises its own, and a run stops, goes back or goes on as it was told."""

from typing import Any

import pytest

from sparring.selfplay.config.config import LIMITS, AlarmsConfig
from sparring.selfplay.evaluation.alarms import _WATCHED, Alarm, check_health

HEALTHY: dict[str, Any] = {
    "games": 100, "attacker_wins": 50, "defender_wins": 40, "ties": 10,
    "reasons": {"declared_right": 40, "declared_wrong": 45, "foul": 5, "turn_limit": 10},
    "attacker/reward_std": 0.9, "defender/reward_std": 0.9, "repeated": 0.01, "truth": 0.9, "decisive": 0.4,
    "entropy": 0.6, "mismatch_kl": 1e-8, "grad_norm": 0.3,
}  # fmt: skip
SICK: dict[str, dict[str, Any]] = {
    "entropy": {"entropy": 0.29},
    "reward_std": {"defender/reward_std": 0.29},
    "mute": {"reasons": {"silent": 15, "overlong": 6}},
    "repeated": {"repeated": 0.21},
    "imbalance": {"attacker_wins": 97, "defender_wins": 2},
    "decisive": {"decisive": 0.04},
    "ties": {"ties": 61},
    "fouls": {"reasons": {"foul": 21}},
    "mismatch_kl": {"mismatch_kl": 0.02},
    "grad_norm": {"grad_norm": 3.1},
    "truth": {"truth": 0.79},
}


def test_every_limit_is_watched_and_has_a_case_here():
    assert set(LIMITS) - {"start"} == set(_WATCHED) == set(SICK)


def test_a_healthy_round_raises_none():
    assert check_health(HEALTHY, HEALTHY, AlarmsConfig()) == []


@pytest.mark.parametrize("name", sorted(SICK))
def test_one_sick_metric_raises_its_alarm_alone(name: str):
    record = HEALTHY | SICK[name]
    assert [alarm.name for alarm in check_health(record, HEALTHY, AlarmsConfig())] == [name]
    assert check_health(record, HEALTHY, AlarmsConfig(limits={name: None})) == []


@pytest.mark.parametrize(("attacker", "defender", "heard"), [(31_273, 2_700, True), (90, 10, True), (79, 21, False), (21, 79, False)])
def test_a_role_that_wins_nearly_always_is_heard(attacker: int, defender: int, heard: bool):
    """The first is a replication of SPAG that collapsed; 0.79 is what healthy runs came to."""
    found = check_health(HEALTHY | {"attacker_wins": attacker, "defender_wins": defender}, HEALTHY, AlarmsConfig())
    assert [alarm.name for alarm in found] == ["imbalance"] * heard


def test_what_is_not_known_raises_nothing():
    assert check_health({}, {}, AlarmsConfig()) == []
    assert check_health({"entropy": 0.01, "grad_norm": 1e6, "truth": None}, {}, AlarmsConfig()) == []


@pytest.mark.parametrize(
    ("first", "now", "heard"),
    [(2e-9, 2.1e-4, False), (2e-9, 0.3, False), (0.0, 5.0, False), (2e-9, 11.0, True), (0.0, 11.0, True), (0.01, 0.11, True)],
)  # fmt: skip
def test_a_first_round_that_taught_next_to_nothing_is_no_measure_of_gradients(first: float, now: float, heard: bool):
    found = check_health({"grad_norm": now}, {"grad_norm": first}, AlarmsConfig())
    assert [alarm.name for alarm in found] == ["grad_norm"] * heard


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("first", [{}, {"grad_norm": 0.0}, {"grad_norm": float("inf")}, {"grad_norm": 0.3}])
@pytest.mark.parametrize("limit", [10.0, None])
def test_a_gradient_that_is_not_finite_is_an_alarm_whatever_came_first(value: float, first: dict[str, float], limit: float | None):
    (alarm,) = check_health({"grad_norm": value}, first, AlarmsConfig(limits={"grad_norm": limit}), 1)
    assert alarm.text == "gradient not finite at step 1"
    assert alarm.record["value"] is None and alarm.name == "grad_norm"


def test_what_helps_against_stalling_is_said():
    assert Alarm("decisive", 0.0, 0.05).advice.startswith(": ") and "rollback" in Alarm("ties", 0.9, 0.6).advice
    assert Alarm("entropy", 0.3, 0.5).advice == ""


def test_an_alarm_says_what_was_found_and_what_is_allowed():
    assert Alarm("ties", 0.75, 0.6).text == "share of ties 0.75, above 0.6"
    assert Alarm("grad_norm", float("inf"), 10.0, 2).record["value"] is None, "as JSON has it"
    assert Alarm("entropy", 0.3, 0.5, step=4).text == "entropy as a share of the first round's 0.3 at step 4, below 0.5"
