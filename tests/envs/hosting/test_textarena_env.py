"""Adversarial Taboo in TextArena's hands: its registry, its loop, its wrappers, and the way back through our own adapter."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

textarena = pytest.importorskip("textarena", reason="needs the extra textarena")

import sparring.envs.hosting.textarena_env  # noqa: E402, F401
from sparring.envs.conformance import check_game  # noqa: E402
from sparring.envs.core import Task, find_game, make_game, replay  # noqa: E402
from sparring.envs.games import registered as _games  # noqa: E402, F401
from sparring.envs.games.taboo import TALKS  # noqa: E402

ID = "AdversarialTaboo-v0"
Player = Callable[[str], str]


def their_loop(env: Any, players: Mapping[int, Player], seed: int = 0) -> tuple[dict[int, float], dict[int, dict[str, Any]]]:
    """The loop of TextArena's own documentation."""
    env.reset(num_players=len(players), seed=seed)
    done = False
    while not done:
        player_id, observation = env.get_observation()
        done, _ = env.step(action=players[player_id](observation))
    return env.close()


def says(*texts: str) -> Player:
    left = iter(texts)
    return lambda observation: next(left)


def word_of(seed: int, **settings: Any) -> str:
    env = textarena.make(ID, **settings)
    env.reset(num_players=2, seed=seed)
    return env.state.game_state["word"]


def test_a_right_declaration_wins_in_their_loop():
    word = word_of(3)
    seen: list[str] = []

    def defender(observation: str) -> str:
        seen.append(observation)
        return f"I know the word! It is {word}." if len(seen) == 2 else "Tell me more."

    rewards, infos = their_loop(textarena.make(ID), {0: says("Hm.", "It is useful."), 1: defender}, seed=3)
    assert rewards == {0: -1.0, 1: 1.0}
    assert [infos[player]["reason"] for player in (0, 1)] == ["declared_right"] * 2
    assert not any(infos[player]["invalid_move"] for player in (0, 1))
    assert all(word not in text for text in seen), "the defender is not told"
    assert seen[1].startswith(seen[0]) and seen[1].endswith("\n[Attacker] Hm.\n[Defender] Tell me more.\n[Attacker] It is useful.")


def test_the_attacker_is_told_the_word():
    observations: list[str] = []

    def attacker(observation: str) -> str:
        observations.append(observation)
        return ""

    their_loop(textarena.make(ID), {0: attacker, 1: says()}, seed=3)
    assert f"Your secret word is {word_of(3)}." in observations[0]


@pytest.mark.parametrize(
    ("attacker", "defender", "rewards", "reason", "invalid"),
    [
        (["Hm."] * 5, ["Hm."] * 5, {0: 0, 1: 0}, "turn_limit", None),
        (["{word}"], [], {0: -1, 1: 1}, "foul", None),
        (["Hm."], ["I like the {word}s."], {0: 1, 1: -1}, "uttered", None),
        (["Hm."], [" "], {0: 1, 1: -1}, "silent", 1),
        (["x" * 3000], [], {0: -1, 1: 1}, "overlong", 0),
    ],
)
def test_every_end_has_its_rewards(attacker: list[str], defender: list[str], rewards: dict[int, float], reason: str, invalid: int | None):
    word = word_of(0)
    players = {0: says(*(text.format(word=word) for text in attacker)), 1: says(*(text.format(word=word) for text in defender))}
    got, infos = their_loop(textarena.make(ID), players)
    assert got == rewards
    for player in (0, 1):
        assert infos[player]["reason"] == reason
        assert infos[player]["invalid_move"] is (player == invalid)


def test_a_foul_is_not_shown_to_the_other_player():
    env = textarena.make(f"{ID}-raw")
    env.reset(num_players=2, seed=0)
    word = env.state.game_state["word"]
    env.step(action=f"It is a {word}.")
    assert word in repr(env.state.observations[0]) and word not in repr(env.state.observations[1])


def test_payoffs_of_the_variant_are_the_rewards():
    env = textarena.make(ID, game="AdversarialTaboo-DrawingOut", max_turns=1)
    assert their_loop(env, {0: says("Hm."), 1: says("Hm.")})[0] == {0: -0.5, 1: -0.5}


def test_equal_seeds_draw_equal_words_and_a_game_can_be_reset():
    assert len({word_of(seed) for seed in range(20)}) > 5
    assert word_of(4) == word_of(4)
    random.seed(9)
    words = [word_of(None) for _ in range(2)]  # type: ignore[arg-type]
    random.seed(9)
    assert [word_of(None) for _ in range(2)] == words  # type: ignore[arg-type]
    env = textarena.make(f"{ID}-raw")
    for _ in range(2):
        assert their_loop(env, {0: lambda seen: "Hm.", 1: lambda seen: ""})[0] == {0: 1, 1: -1}


@pytest.mark.parametrize(
    ("wrapper", "settings", "reason"),
    [
        ("SimpleRenderWrapper", {"player_names": {0: "one", 1: "two"}}, "declared_wrong"),
        ("ClipCharactersActionWrapper", {"max_num_characters": 100}, "declared_wrong"),
        ("ClipWordsActionWrapper", {"max_num_words": 2}, "turn_limit"),
        ("ActionFormattingWrapper", {}, "declared_wrong"),
    ],
)
def test_their_wrappers_go_around_it(wrapper: str, settings: dict[str, Any], reason: str):
    env = getattr(textarena.wrappers, wrapper)(textarena.make(f"{ID}-train", max_turns=1), **settings)
    _, infos = their_loop(env, {0: says("Hm."), 1: says("I know the word! It is a mailbox key.")}, seed=1)
    assert infos[0]["reason"] == reason


def test_it_comes_back_through_our_adapter_as_the_same_game():
    check_game(find_game(f"textarena:{ID}"))
    for talk in TALKS:
        state = make_game(f"textarena:{ID}").start(Task("t", "", "", 3))
        ours = make_game("AdversarialTaboo").start(Task("t", word_of(3), "", 3))
        for text in talk:
            if ours.to_act is not None:
                state, ours = state.apply(text), ours.apply(text)
        assert [u.text for u in state.utterances] == [u.text for u in ours.utterances]
        assert (state.outcome is None) == (ours.outcome is None)
        if ours.outcome is not None and state.outcome is not None:
            theirs, ours = state.outcome.utilities, ours.outcome.utilities
            assert (theirs["player_0"], theirs["player_1"]) == (ours["attacker"], ours["defender"])
        assert replay(make_game(f"textarena:{ID}"), state.task, state.utterances) == state


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "strict"}, "unknown rule 'strict'"),
        ({"words": "nonsense"}, "unknown word list 'nonsense'"),
        ({"game": "TwentyQuestions"}, "games of Adversarial Taboo: "),
        ({"prompts": "nonsense"}, "unknown prompts 'nonsense'"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, str], message: str):
    with pytest.raises(ValueError, match=message):
        textarena.make(ID, **settings)


def test_misuse_is_named():
    env = textarena.make(ID)
    with pytest.raises(ValueError, match="2 players, got num_players=3"):
        env.reset(num_players=3)
    env.reset(num_players=2, seed=0)
    with pytest.raises(TypeError, match="an utterance is a str, got int"):
        env.step(action=3)
    env.step(action="")
    with pytest.raises(ValueError, match="the game has ended"):
        env.step(action="Hm.")
