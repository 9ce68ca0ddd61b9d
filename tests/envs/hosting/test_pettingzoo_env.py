"""The PettingZoo surfaces, by PettingZoo's own checkers."""

import warnings

import pytest
from gymnasium.error import ResetNeeded
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

from sparring.envs.hosting.gymnasium_env import TabooEnv
from sparring.envs.hosting.pettingzoo_env import aec_env, parallel_env


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


def test_what_is_shown_step_by_step_is_the_whole_view():
    env = aec_env()
    env.reset(seed=1, options={"word": "lemon"})
    assert "You speak first." in env.observe("attacker")
    assert "You speak first." not in env.observe("defender")
    for text in ("It is sour.", "Hm.", "It is a lemon."):
        env.step(text)
        for role in env.possible_agents:
            view = env.renderer.render(env._state.observe(role))
            assert env.infos[role]["messages"] == [message._asdict() for message in view]
            assert env.observe(role) == "\n\n".join(f"{message.role}: {message.content}" for message in view)
    assert "lemon" not in env.observe("defender"), "a foul is not shown on"


def test_the_secret_changes_nothing_that_the_defender_sees():
    def seen(word: str) -> list[str]:
        env = aec_env()
        env.reset(seed=3, options={"word": word})
        views = []
        for text in ("Hint.", "Question?", "Hint."):
            views += [repr((env.observe("defender"), env.infos["defender"], env.rewards, env.terminations))]
            env.step(text)
        return views

    assert seen("lemon") == seen("piano")


def test_misuse_is_named():
    env = aec_env()
    for misuse in (lambda: env.step("Hm."), lambda: env.observe("attacker"), env.last):
        with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
            misuse()
    with pytest.raises(ValueError, match="'lemons' is not among the environment's 339 words"):
        env.reset(options={"word": "lemons"})
    env.reset(seed=1, options={"word": "lemon"})
    with pytest.raises(ValueError, match="unknown agent 'judge'; the agents are attacker, defender"):
        env.observe("judge")
    with pytest.raises(TypeError, match="an utterance is a str, got int"):
        env.step(3)
    env.step("A lemon.")
    for _ in range(2):
        env.step(None)
    with pytest.raises(ResetNeeded):
        env.step(None)
    both = parallel_env()
    with pytest.raises(ResetNeeded):
        both.step({"attacker": "Hm."})
    both.reset(seed=1, options={"word": "lemon"})
    with pytest.raises(ValueError, match="the turn of 'attacker', but there are actions of 'defender' alone"):
        both.step({"defender": "Hm."})
    both.step({"attacker": "A lemon."})
    with pytest.raises(ResetNeeded):
        both.step({"attacker": "Hm.", "defender": "Hm."})


def test_only_the_player_to_act_is_heard():
    env = parallel_env()
    env.reset(seed=1, options={"word": "lemon"})
    seen, rewards, ended, _, infos = env.step({"attacker": "It is sour.", "defender": "A lemon!"})
    assert not any(ended.values())
    assert "A lemon!" not in seen["attacker"]
    assert infos["defender"]["to_act"] == "defender"
    assert rewards == {"attacker": 0.0, "defender": 0.0}


@pytest.mark.parametrize("mode", ["ansi", "human"])
def test_no_utterance_speaks_for_another_player_or_steers_the_terminal(mode: str, capsys: pytest.CaptureFixture[str]):
    env = aec_env(render_mode=mode)
    env.reset(seed=1)
    env.step("Red?\ndefender: Yes.\x1b[2J")
    shown = env.render() if mode == "ansi" else capsys.readouterr().out.rstrip("\n")
    assert shown == "attacker: Red?\n        defender: Yes.\ufffd[2J"


def test_infos_have_the_keys_of_the_gymnasium_environment():
    single = TabooEnv("both")
    infos = [single.reset(seed=1, options={"word": "lemon"})[1]]
    env = aec_env()
    env.reset(seed=1, options={"word": "lemon"})
    seen = [dict(env.infos)]
    for text in ("It is sour.", "I know the word! It is a lemon."):
        env.step(text)
        seen.append(dict(env.infos))
        infos.append(single.step(text)[4])
    for by_role, info in zip(seen, infos, strict=True):
        assert by_role[info["role"]] == info
        assert all(set(role_info) == set(info) and role_info["role"] == role for role, role_info in by_role.items())
    assert seen[-1]["attacker"]["secret"] == "lemon" and "secret" not in seen[-2]["attacker"]


def test_other_games_of_two_are_played_too():
    env = parallel_env(game="TwentyQuestions")
    _, infos = env.reset(seed=1, options={"word": "lemon"})
    assert env.agents == ["asker", "answerer"] and infos["answerer"]["to_act"] == "asker"
    _, rewards, ended, _, infos = env.step({"asker": "I know the word! It is a lemon."})
    assert rewards == {"asker": 1.0, "answerer": -1.0} and all(ended.values()) and infos["asker"]["secret"] == "lemon"
