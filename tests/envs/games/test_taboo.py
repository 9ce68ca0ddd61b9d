"""The rules of Adversarial Taboo that its golden playthroughs do not tell."""

from dataclasses import replace

import pytest

from sparring.envs.core import Task, Utterance, replay
from sparring.envs.games.taboo import ELICITATION, AdversarialTaboo

TASK = Task("t", "lemon", "lemon", 0)


def play(texts: list[str], game: AdversarialTaboo | None = None, secret: str = "lemon"):
    game = game or AdversarialTaboo()
    state = game.start(replace(TASK, secret=secret))
    for text in texts:
        state = state.apply(text)
    return state


def test_published_payoffs_are_zero_sum_and_the_variant_keeps_winners():
    wrong = ["It is sour.", "I know the word! It is a lime."]
    assert play(wrong).outcome.utilities == {"attacker": 1.0, "defender": -1.0}
    variant = AdversarialTaboo(payoffs=ELICITATION)
    assert play(wrong, variant).outcome.utilities == {"attacker": 0.5, "defender": -0.5}
    assert play(wrong, variant).outcome.winner == "attacker"
    right = ["It is sour.", "I know the word! It is a lemon."]
    assert play(right, variant).outcome.utilities == {"attacker": -0.5, "defender": 0.5}
    caught = ["It is sour.", "A lemon is."]
    assert play(caught, variant).outcome.utilities == {"attacker": 1.0, "defender": -1.0}
    assert play(list("abcdefghij"), variant).outcome.utilities == {"attacker": -0.5, "defender": -0.5}
    assert not variant.zero_sum


@pytest.mark.parametrize("secret", ["", "  ", "?!", "\u200b"])
def test_a_secret_that_cannot_be_said_is_refused(secret: str):
    with pytest.raises(ValueError, match="task t"):
        AdversarialTaboo().start(replace(TASK, secret=secret))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"max_turns": 0}, "max_turns"), ({"rule": "stem"}, "unknown rule"), ({"payoffs": {"guess": 0}}, "0 < guess")],
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
