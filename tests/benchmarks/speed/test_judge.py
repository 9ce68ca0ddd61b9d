"""The judge's benchmark, in very small. No times are asserted."""

import pytest

from sparring.benchmarks.speed.judge import UTTERANCES, JudgeSpeedConfig, measure
from sparring.envs.judge.verdict import RULES


def test_figures_are_of_the_rounds_own_utterances():
    found = measure(JudgeSpeedConfig(model="random", games=3, repeats=1))
    assert 3 <= found["round"]["utterances"] <= 30
    assert found["round"]["share"] == found["round"]["judging_seconds"] / found["round"]["playing_seconds"]
    assert {rule: set(kinds) for rule, kinds in found["microseconds"].items()} == {rule: set(UTTERANCES) for rule in RULES}


@pytest.mark.parametrize(("config", "message"), [({"games": 0}, "at least 1, got 0"), ({"model": "nobody"}, "unknown agent 'nobody'")])
def test_bad_settings_are_named(config: dict, message: str):
    with pytest.raises(ValueError, match=message):
        measure(JudgeSpeedConfig(**config))
