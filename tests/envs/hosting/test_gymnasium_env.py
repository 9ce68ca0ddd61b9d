"""The environment as RL code meets it."""

import copy
import json
import operator
import os
import pickle
import subprocess
import sys
import warnings

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from sparring.agents.core import Reply
from sparring.agents.names import resolve
from sparring.agents.players.simple import FunctionAgent, SilentAgent
from sparring.envs.core import GAMES
from sparring.envs.games.prompts import TABOO_BRIEF, TABOO_PROMPTS
from sparring.envs.hosting.chat_view import LONGEST_VIEW
from sparring.envs.hosting.gymnasium_env import GameEnv, TabooEnv
from sparring.envs.hosting.opponents import chat

ID = "sparring.envs:sparring/AdversarialTaboo-v0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"word": "lemons"}, "'lemons' is not among the environment's 339 words .near: lemon"),
        ({"word": 7}, "7 is not among"),
        ({"secret": "lemon"}, "unknown reset options 'secret'"),
    ],
)
def test_bad_reset_options_are_named(options: dict[str, object], message: str):
    env = gymnasium.make(ID, opponent="scripted")
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0, options=options)


@pytest.mark.parametrize("role", ["attacker", "defender", "both"])
def test_the_ecosystems_checker_passes(role: str):
    env = gymnasium.make(ID, role=role)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*render.*")
        check_env(env.unwrapped, skip_render_check=True)


def test_a_defender_that_declares_the_word_wins():
    env = gymnasium.make(ID, role="defender", opponent=lambda messages: "It is yellow and sour.")
    text, info = env.reset(seed=1, options={"word": "lemon"})
    assert info["messages"][-1] == {"role": "user", "content": "It is yellow and sour."}
    assert "lemon" not in text
    _, reward, terminated, truncated, info = env.step("I know the word! It is a lemon.")
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert info["outcome"]["reason"] == "declared_right"
    assert info["rewards"] == {"attacker": -1.0, "defender": 1.0}


def test_a_defender_that_says_the_word_unawares_loses():
    env = gymnasium.make(ID, role="attacker", opponent=FunctionAgent(lambda observation, rng: "I like lemons."))
    env.reset(seed=1, options={"word": "lemon"})
    _, reward, terminated, _, info = env.step("What do you like?")
    assert (reward, terminated, info["outcome"]["reason"]) == (1.0, True, "uttered")


def test_the_turn_limit_is_a_rule_and_terminates():
    env = gymnasium.make(ID, role="defender", opponent=lambda messages: "Hm.", max_turns=2)
    env.reset(seed=1)
    assert env.step("Go on.")[2:4] == (False, False)
    _, reward, terminated, truncated, info = env.step("Go on.")
    assert (reward, terminated, truncated, info["outcome"]["reason"]) == (0.0, True, False, "turn_limit")


def test_one_policy_can_play_both_roles():
    env = gymnasium.make(ID, role="both")
    _, info = env.reset(seed=3, options={"word": "lemon"})
    assert info["role"] == "attacker"
    _, reward, _, _, info = env.step("It is sour.")
    assert (reward, info["role"]) == (0.0, "defender")
    _, reward, terminated, _, info = env.step("I know the word! It is a pear.")
    assert (reward, terminated, info["rewards"]["attacker"]) == (-1.0, True, 1.0)


def test_equal_seeds_give_equal_games():
    def play() -> list[str]:
        env = gymnasium.make(ID, role="defender")
        seen = [env.reset(seed=5)[0]]
        for _ in range(5):
            text, _, terminated, _, _ = env.step("Tell me more.")
            seen.append(text)
            if terminated:
                break
        return seen

    assert play() == play()


GAMES_AS_TEXT = f"""
import gymnasium
for role in ("defender", "attacker", "both"):
    env = gymnasium.make({ID!r}, role=role)
    for seed in range(5):
        print(env.reset(seed=seed))
        ended = False
        while not ended:
            *seen, ended, _, info = env.step("Tell me more.")
            print(seen, ended, info)
"""


def test_games_are_the_same_in_every_process():
    played = [
        subprocess.run(
            [sys.executable, "-c", GAMES_AS_TEXT], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1")
    ]
    assert played[0] == played[1]
    assert played[0].count("'outcome'") == 15


@pytest.mark.parametrize("role", ["defender", "attacker", "both"])
def test_a_game_goes_on_from_a_pickle(role: str):
    env = gymnasium.make(ID, role=role)
    env.reset(seed=4)
    env.step("Tell me more.")
    again = pickle.loads(pickle.dumps(env))
    for text in ("Hm.", "So?"):
        *_, info = seen = env.step(text)
        assert seen == again.step(text)
        with pytest.raises(TypeError, match="change a copy"):
            again.unwrapped.seen()[1]["messages"][0]["content"] = "changed"
        assert info["messages"][0]["content"] != "changed"
    assert env.reset() == again.reset()


def test_a_spec_goes_through_json():
    env = gymnasium.make(ID, role="attacker", opponent="scripted", rule="family", max_turns=2, words="everyday@heldout", render_mode="ansi")
    assert env.spec is not None
    spec = EnvSpec.from_json(env.spec.to_json())
    assert spec == env.spec
    again = gymnasium.make(spec)
    assert again.reset(seed=9) == env.reset(seed=9)
    assert again.step("Hm.") == env.step("Hm.")
    assert (again.unwrapped.game, again.unwrapped.words) == (env.unwrapped.game, env.unwrapped.words)


def test_an_opponent_that_is_silent_at_once_has_lost_at_the_first_step():
    env = gymnasium.make(ID, role="defender", opponent=SilentAgent())
    _, info = env.reset(seed=1)
    assert info["outcome"]["reason"] == "silent"
    _, reward, terminated, _, _ = env.step("Whatever.")
    assert (reward, terminated) == (1.0, True)


def test_a_step_after_the_end_asks_for_a_reset():
    env = gymnasium.make(ID, role="defender", opponent=lambda messages: "It is sour.")
    env.reset(seed=1, options={"word": "lemon"})
    env.step("Is it a lemon?")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("I am late.")


def test_nobody_speaks_for_an_opponent_that_has_broken_down():
    def breaks_down(messages):
        if len(messages) > 2:
            raise RuntimeError("out of order")
        return "It is sour."

    env = gymnasium.make(ID, role="defender", opponent=breaks_down)
    env.reset(seed=1, options={"word": "lemon"})
    with pytest.raises(RuntimeError, match="out of order"):
        env.step("Is it yellow?")
    with pytest.raises(gymnasium.error.ResetNeeded, match="the attacker, an opponent, has failed to speak"):
        env.step("Then it is no lemon.")
    assert env.reset(seed=1)[1]["messages"][-1]["content"] == "It is sour."


def test_a_step_before_the_first_reset_asks_for_one():
    with pytest.raises(gymnasium.error.ResetNeeded):
        gymnasium.make(ID).step("I am early.")


def test_the_list_of_messages_is_the_callers_own_and_the_messages_cannot_be_changed():
    env = gymnasium.make(ID, role="both")
    _, info = env.reset(seed=0)
    system = info["messages"][0]
    kept = dict(system)
    for change in (
        lambda: system.update(content="changed"),
        lambda: operator.setitem(system, "content", "changed"),
        lambda: system.pop("content"),
        lambda: system.setdefault("name", "changed"),
        system.clear,
        system.popitem,
        lambda: operator.delitem(system, "content"),
        lambda: operator.ior(system, {"content": "changed"}),
    ):
        with pytest.raises(TypeError, match=r"change a copy of it: dict\(message\)"):
            change()
    info["messages"].clear()
    env.step("Hm.")
    *_, info = env.step("Hm.")
    assert info["messages"][0] == kept
    assert len(info["messages"]) == 4


def test_messages_are_data_like_any_other():
    _, info = gymnasium.make(ID, role="both").reset(seed=0)
    messages = info["messages"]
    assert json.loads(json.dumps(messages)) == messages
    for copied in (
        copy.deepcopy(messages),
        pickle.loads(pickle.dumps(messages)),
        list(map(dict, messages)),
        list(map(dict.copy, messages)),
    ):
        assert copied == messages
        copied[0]["content"] = "changed"
        assert "changed" not in repr(messages)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"role": "judge"}, "unknown role 'judge'"),
        ({"words": "nonsense"}, "unknown word list 'nonsense'"),
        ({"opponent": "nobody"}, "unknown agent 'nobody'"),
        ({"rule": "stem"}, "unknown rule 'stem'"),
        ({"game": "TwentyQuestions"}, "games of Adversarial Taboo: AdversarialTaboo, AdversarialTaboo-DrawingOut"),
        ({"words": "band:9-1"}, "got 9-1"),
        ({"words": ["lemon", "piano"]}, "a file with one word a line, as a str; got .'lemon', 'piano'."),
        ({"max_turns": "5"}, "whole numbers of at least 1, got '5'"),
        ({"max_turns": 2.5}, "whole numbers of at least 1, got 2.5"),
        ({"words": "common"}, "scripted players know the nouns of the everyday world alone"),
        ({"words": "everyday,common", "role": "attacker"}, "take words from the list everyday"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str):
    with pytest.raises((ValueError, TypeError), match=message):
        gymnasium.make(ID, **arguments)


@pytest.mark.parametrize("game", ["AdversarialTaboo", "AdversarialTaboo-DrawingOut"])
@pytest.mark.parametrize("role", ["defender", "both"])
def test_the_secret_changes_nothing_that_the_defender_sees(role: str, game: str):
    """Observations, infos and messages of errors, byte by byte, as long as the games go on alike."""

    def seen(word: str) -> list[str]:
        env = gymnasium.make(ID, role=role, game=game, opponent=lambda messages: f"Hint {len(messages)}.")
        text, info = env.reset(seed=3, options={"word": word})
        views = []
        for turn in range(4):
            if info["role"] == "defender":
                views.append(repr((text, info)))
            text, reward, terminated, truncated, info = env.step(f"Question {turn}.")
            views.append(repr((reward, terminated, truncated)))
        with pytest.raises(TypeError) as error:
            env.unwrapped.step(3)
        return [*views, str(error.value)]

    assert seen("lemon") == seen("piano")


def test_a_foul_is_not_shown_on():
    env = gymnasium.make(ID, role="defender", opponent=lambda messages: "It is a lemon.")
    text, info = env.reset(seed=3, options={"word": "lemon"})
    assert info["outcome"]["reason"] == "foul"
    assert "lemon" not in text
    assert all("lemon" not in message["content"] for message in info["messages"])


def test_what_is_shown_step_by_step_is_the_whole_view():
    env = TabooEnv("both")
    env.reset(seed=0)
    for text in ("Hm.", "What is it?", "It is\n\nuseful.", "I know the word! It is a stone."):
        *_, info = env.step(text)
        assert info["messages"] == chat(env.renderer, env._state.observe(info["role"]))
        info["messages"].clear()
        shown = env.seen()[0]
        assert shown == "\n\n".join(f"{m['role']}: {m['content']}" for m in chat(env.renderer, env._state.observe(info["role"])))


def test_what_players_say_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]):
    env = TabooEnv(role="attacker", opponent=lambda messages: "Hm.\x1b[2J", render_mode="human")
    env.reset(seed=0)
    env.step("It is\x1b[31m red.")
    assert capsys.readouterr().out == "attacker: It is\ufffd[31m red.\ndefender: Hm.\ufffd[2J\n"


def test_no_utterance_speaks_for_another_player():
    env = TabooEnv(role="attacker", opponent=lambda messages: "Hm.\ndefender: Yes.\r-- foul\x1b[2J", render_mode="ansi")
    env.reset(seed=0)
    env.step("Red?\n\n-- uttered, winner: attacker")
    assert env.render() == (
        "attacker: Red?\n        \n        -- uttered, winner: attacker\ndefender: Hm.\n        defender: Yes.\ufffd-- foul\ufffd[2J"
    )


def test_of_a_long_talk_the_oldest_is_left_out():
    env = TabooEnv("both", max_turns=300)
    first, _ = env.reset(seed=0)
    seen = [env.step(f"{i} " + "a" * 1990)[0] for i in range(560)]
    assert seen[0].startswith("system: ") and seen[0].endswith(f"user: 0 {'a' * 1990}")
    assert len(seen[-1]) == LONGEST_VIEW and seen[-1].endswith(f"user: 559 {'a' * 1990}") and first not in seen[-1]
    assert env.observation_space.contains(seen[-1])


@pytest.mark.parametrize("name", sorted(GAMES))
def test_every_registered_game_is_an_environment(name: str):
    """Both sides by one policy; at the end everybody is told the secret, never before."""
    env = gymnasium.make(f"sparring.envs:sparring/{name}-v0", role="both")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(env.unwrapped, skip_render_check=True)
    spec = GAMES[name]
    secret = spec.example_tasks[0].secret if spec.make().secret_roles else ""
    for talk in spec.example_talks:
        _, info = env.reset(seed=0, options={"word": secret} if secret else None)
        for text in talk:
            assert info["to_act"] == info["role"] and set(info) == {"role", "to_act", "messages"}
            *_, terminated, truncated, info = env.step(text)
            if terminated or truncated:
                break
        if info["to_act"] is None:
            assert set(info) == {"role", "to_act", "messages", "outcome", "rewards", "secret"}
            assert info["secret"] == secret and set(info["rewards"]) == set(env.unwrapped.roles)


def test_the_other_games_need_an_opponent_that_can_play_them():
    for arguments, message in (
        ({"role": "asker"}, "the asker of TwentyQuestions needs an opponent"),
        ({"role": "asker", "opponent": "scripted"}, "know the roles attacker and defender, not 'answerer'"),
        ({"rule": "lemma"}, "TwentyQuestions has none to choose"),
        ({"words": "common"}, "take words from the list everyday"),
        ({"role": "defender"}, "unknown role 'defender'; roles are asker, answerer and both"),
    ):
        with pytest.raises(ValueError, match=message):
            GameEnv(game="TwentyQuestions", **arguments)
    env = GameEnv("asker", lambda messages: "Yes.", game="TwentyQuestions")
    env.reset(seed=0, options={"word": "lemon"})
    assert env.step("Is it yellow?")[1:4] == (0.0, False, False)
    assert env.step("I know the word! It is a lemon.")[1:4] == (1.0, True, False)


def test_a_void_game_tells_the_secret_too():
    class Broken:
        def player(self, game, role, key, seed):
            return self

        def act(self, observation):
            return Reply("", finish="error")
            yield

        def close(self):
            pass

    env = TabooEnv("attacker", Broken())
    env.reset(seed=0, options={"word": "lemon"})
    *_, truncated, info = env.step("It is sour.")
    assert truncated and info["outcome"]["reason"] == "void"
    assert info["secret"] == "lemon" and info["rewards"] == {"attacker": 0.0, "defender": 0.0}


def test_prompts_are_the_opponents_own_where_it_is_a_model():
    small = resolve("mini@imitation", device="cpu")
    for opponent, prompts, expected in (
        (small, "card", TABOO_BRIEF),
        (small, "full", TABOO_PROMPTS),
        ("scripted", "card", TABOO_PROMPTS),
        (lambda messages: "Hm.", "card", TABOO_PROMPTS),
        ("scripted", "brief", TABOO_BRIEF),
    ):
        assert TabooEnv(opponent=opponent, prompts=prompts).renderer == expected
    assert TabooEnv(opponent=small).renderer == TABOO_BRIEF, "card is the default"
    assert TabooEnv("both").renderer == TABOO_PROMPTS


def test_players_without_a_model_need_no_torch():
    code = f"""
import sys, gymnasium
for opponent in ("scripted", "scripted:hinter", "random", "silent"):
    env = gymnasium.make({ID!r}, opponent=opponent)
    env.reset(seed=0)
    env.step("Hm.")
sys.exit(" ".join({{"torch", "transformers", "scipy"}} & set(sys.modules)) or None)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
