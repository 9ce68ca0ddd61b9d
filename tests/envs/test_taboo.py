"""The rules of Adversarial Taboo: golden playthroughs, purity, and what every registered game owes."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.envs import taboo  # noqa: F401  registers the games
from sparring.envs.core import GAMES, Task, Utterance, make_game, replay
from sparring.envs.taboo import DRAWING_OUT, AdversarialTaboo
from sparring.envs.views import PROMPTS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "adversarial_taboo.json").read_text())
TASK = Task("t", "lemon", "lemon", 0)


def play(said: list[str], game: AdversarialTaboo | None = None, secret: str = "lemon"):
    game = game or AdversarialTaboo()
    state = game.start(replace(TASK, secret=secret))
    for text in said:
        state = state.apply(text)
    return state


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden_playthroughs(case: dict):
    state = play(case["said"], secret=case["secret"])
    if case["reason"] is None:
        assert state.outcome is None
        return
    assert state.outcome is not None
    assert (state.outcome.winner, state.outcome.reason) == (case["winner"], case["reason"])
    evidence = state.outcome.evidence
    if case["matched"] is not None:
        assert evidence is not None
        assert evidence.turn == len(case["said"]) - 1
        assert case["matched"] in case["said"][-1][evidence.start : evidence.end]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_games_replay_to_the_same_state(case: dict):
    state = play(case["said"], secret=case["secret"])
    assert replay(state.game, state.task, state.utterances) == state
    assert pickle.loads(pickle.dumps(state)) == state


def test_published_prices_are_zero_sum_and_the_variant_keeps_winners():
    wrong = ["It is sour.", "I know the word! It is a lime."]
    assert play(wrong).outcome.utilities == {"attacker": 1.0, "defender": -1.0}
    variant = AdversarialTaboo(prices=DRAWING_OUT)
    assert play(wrong, variant).outcome.utilities == {"attacker": 0.5, "defender": -0.5}
    assert play(wrong, variant).outcome.winner == "attacker"
    assert play(list("abcdefghij"), variant).outcome.utilities == {"attacker": -0.5, "defender": -0.5}
    assert not variant.zero_sum


def test_over_long_speech_loses():
    game = AdversarialTaboo(max_characters=10)
    assert play(["It is rather sour."], game).outcome.reason == "overlong"
    cut = game.start(TASK).apply("It is", truncated=True)
    assert (cut.outcome.reason, cut.outcome.winner) == ("overlong", "defender")


def test_a_word_said_before_the_end_of_an_over_long_speech_counts():
    assert play(["A lemon, a lemon, a lemon, a lemon."], AdversarialTaboo(max_characters=20)).outcome.reason == "foul"


@pytest.mark.parametrize("secret", ["", "  ", "?!", "\u200b"])
def test_a_secret_that_cannot_be_said_is_refused(secret: str):
    with pytest.raises(ValueError, match="task t"):
        AdversarialTaboo().start(replace(TASK, secret=secret))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"max_turns": 0}, "max_turns"), ({"rule": "stem"}, "unknown rule"), ({"prices": {"wrong_guess": 0}}, "wrong_guess")],
)
def test_bad_settings_are_named(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        AdversarialTaboo(**settings)


def test_nobody_speaks_after_the_end_and_only_text_is_spoken():
    with pytest.raises(ValueError, match="has ended"):
        play(["A lemon."]).apply("Hm.")
    with pytest.raises(TypeError, match="str"):
        AdversarialTaboo().start(TASK).apply(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="turn of 'attacker'"):
        replay(AdversarialTaboo(), TASK, [Utterance("defender", "Hm.")])


@pytest.mark.parametrize("name", sorted(GAMES))
def test_every_game_can_be_made_again_from_its_config(name: str):
    game = make_game(name)
    config = json.loads(json.dumps(game.config()))
    assert make_game(name, **config) == game
    assert len(GAMES[name].example_tasks) >= 2


@pytest.mark.parametrize("name", sorted(GAMES))
@given(said=st.lists(st.text(max_size=30), max_size=10))
def test_no_text_crashes_a_game_and_utilities_stay_in_range(name: str, said: list[str]):
    game = make_game(name)
    state = game.start(GAMES[name].example_tasks[0])
    for text in said:
        if state.to_act is None:
            break
        state = state.apply(text)
    if state.outcome:
        low, high = game.utility_range
        assert all(low <= value <= high for value in state.outcome.utilities.values())
        assert not game.zero_sum or sum(state.outcome.utilities.values()) == 0
        assert len(state.utterances) <= game.horizon


@pytest.mark.parametrize("name", sorted(GAMES))
@pytest.mark.parametrize("prompts", sorted(PROMPTS))
@given(said=st.lists(st.text(alphabet="xyz ?.", min_size=1, max_size=12), max_size=9))
def test_the_secret_alone_changes_nothing_that_the_other_role_sees(name: str, prompts: str, said: list[str]):
    """As long as the game goes on the same way: nothing of the secret reaches the defender's observation or view."""
    one, other = GAMES[name].example_tasks[:2]
    other = replace(other, id=one.id, group=one.group, seed=one.seed)
    states = [make_game(name).start(task) for task in (one, other)]
    for text in said:
        if any(state.to_act is None for state in states):
            return
        states = [state.apply(text) for state in states]
        if any(state.outcome for state in states):
            return
        seen = [state.observe("defender") for state in states]
        assert seen[0] == seen[1]
        assert PROMPTS[prompts].render(seen[0]) == PROMPTS[prompts].render(seen[1])
        assert one.secret not in repr(seen[0])
