"""The PettingZoo surfaces, by PettingZoo's own checkers."""

import warnings

import pytest
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

from sparring.envs.pettingzoo_env import aec_env, parallel_env


@pytest.fixture(autouse=True)
def _text_is_no_array():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(NumPy array|numpy array|Observation|observation|Action|We recommend).*")
        yield


def test_in_turn(capsys: pytest.CaptureFixture[str]):
    api_test(aec_env(), num_cycles=50)
    seed_test(aec_env, num_cycles=20)


def test_at_once(capsys: pytest.CaptureFixture[str]):
    parallel_api_test(parallel_env(), num_cycles=50)
    parallel_seed_test(parallel_env, num_cycles=20)


def test_a_game_by_hand():
    env = aec_env()
    env.reset(seed=1, options={"word": "lemon"})
    assert env.agent_selection == "attacker"
    assert "lemon" in env.observe("attacker")
    assert "lemon" not in env.observe("defender")
    env.step("It tastes sour.")
    assert env.infos["defender"]["messages"][-1] == {"role": "user", "content": "It tastes sour."}
    env.step("I know the word! It is a lemon.")
    assert env.rewards == {"attacker": -1.0, "defender": 1.0}
    assert env.terminations == {"attacker": True, "defender": True}
    assert env.infos["attacker"]["outcome"]["reason"] == "declared_right"


def test_only_the_player_to_act_is_heard():
    env = parallel_env()
    env.reset(seed=1, options={"word": "lemon"})
    seen, rewards, ended, _, infos = env.step({"attacker": "It is sour.", "defender": "A lemon!"})
    assert not any(ended.values())
    assert "A lemon!" not in seen["attacker"]
    assert infos["defender"]["to_act"] == "defender"
    assert rewards == {"attacker": 0.0, "defender": 0.0}
