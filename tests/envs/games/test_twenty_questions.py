"""The rules of Twenty Questions that its golden playthroughs do not tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.envs.core import Task
from sparring.envs.games.twenty_questions import TwentyQuestions, truth, yes_or_no
from sparring.envs.world.english import Guess, Probe, phrasings
from sparring.envs.world.facts import everyday

WORLD = everyday()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("yes", True), ("Yes.", True), (" *YES!* ", True), ("ye\u0455", True), ("no", False), ("No?", False), ("\"No.\"", False),
        ("yes yes", None), ("yes and no", None), ("not", None), ("y", None), ("nope", None), ("?!", None), ("1", None),
    ],
)  # fmt: skip
def test_an_answer_is_exactly_yes_or_no(text: str, answer: bool | None):
    assert yes_or_no(text) is answer


@given(secret=st.sampled_from(WORLD.nouns), fact=st.sampled_from(WORLD.all_facts), noun=st.sampled_from(WORLD.nouns))
def test_the_world_knows_the_answers_to_its_questions(secret: str, fact, noun: str):
    for question in phrasings(Probe(fact)):
        assert truth(question, secret) == (fact in WORLD.facts[secret])
    for question in phrasings(Guess(noun)):
        assert truth(question, secret) == (noun == secret)
        assert truth(question, noun) is True


@pytest.mark.parametrize(
    "question", ["It is yellow.", "Is it often yellow? Is it a pear?", "Yellow?", "I see. Is it often yellow?", "What colour is it?"]
)
def test_what_is_not_one_of_its_questions_the_world_does_not_answer(question: str):
    assert truth(question, "lemon") is None


def test_an_honest_answerer_never_lies_and_a_liar_is_always_caught():
    question = "Does it taste sour?"
    start = TwentyQuestions().start(Task("t", "lemon", "lemon", 0)).apply(question)
    assert start.apply("yes").outcome is None
    assert start.apply("no").outcome.reason == "lied"


def test_the_last_utterance_is_the_answerers():
    game = TwentyQuestions(max_turns=3)
    state = game.start(Task("t", "lemon", "lemon", 0))
    for n in range(6):
        assert state.outcome is None
        assert state.to_act == ("asker", "answerer")[n % 2]
        state = state.apply("Hm?" if n % 2 == 0 else "no")
    assert (state.outcome.reason, state.outcome.winner) == ("turn_limit", "answerer")


def test_other_words_than_the_worlds_are_refused():
    with pytest.raises(ValueError, match=r"task t: .*'justice' is none; take words from the list everyday"):
        TwentyQuestions().start(Task("t", "justice", "justice", 0))


@pytest.mark.parametrize("settings", [{"max_turns": 0}, {"max_characters": 0}])
def test_bad_settings_are_named(settings: dict):
    with pytest.raises(ValueError, match="at least 1"):
        TwentyQuestions(**settings)
