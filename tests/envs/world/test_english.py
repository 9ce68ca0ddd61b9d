"""The small English: every sentence it can say parses back into what was meant, and nothing else does."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.envs.world.english import (
    PHRASINGS,
    Act,
    Answer,
    Ask,
    Declare,
    Deflect,
    Guess,
    Hint,
    NotIt,
    Probe,
    React,
    parse,
    phrasings,
    truth,
)
from sparring.envs.world.facts import KINDS, Fact, everyday

WORLD = everyday()
FACTS = [Fact(kind, value) for kind in KINDS for value in WORLD.values(kind)]


def test_every_kind_has_phrasings():
    assert set(PHRASINGS) == set(KINDS)


def every_act() -> list[Act]:
    acts: list[Act] = [Deflect(), React()]
    acts += [act for fact in FACTS for act in (Hint(fact), Hint(fact, False), Probe(fact), Ask((fact,)))]
    acts += [act for noun in WORLD.nouns for act in (NotIt(noun), Guess(noun), Answer(noun), Declare(noun))]
    return acts


def test_every_sentence_parses_back_into_its_act():
    wrong = [(text, parse(text)) for act in every_act() for text in phrasings(act) if parse(text) != (act,)]
    assert wrong == []


def test_requests_with_two_facts_parse_back():
    rng = random.Random(0)
    for _ in range(500):
        facts = rng.sample(FACTS, k=2)
        ask = Ask(tuple(sorted(facts, key=lambda fact: fact.kind != "category")))
        if ask.facts[1].kind != "category":
            assert {parse(text) for text in phrasings(ask)} == {(ask,)}


def test_several_sentences_are_several_acts():
    fact = FACTS[0]
    text = f"Good. {phrasings(Hint(fact))[0]} Let me think."
    assert parse(text) == (React(), Hint(fact), Deflect())


def test_truth_counts_claims_and_not_requests():
    noun = WORLD.nouns[0]
    true = sorted(WORLD.facts[noun])[0]
    false = next(fact for fact in FACTS if fact not in WORLD.facts[noun])
    sentences = [phrasings(Hint(true))[0], phrasings(Hint(false))[0], phrasings(Hint(false, False))[0]]
    sentences += [
        phrasings(Ask((false,)))[0],
        "Colourless green ideas sleep furiously.",
        f"It is not {WORLD.a(noun)}.",
    ]
    assert truth(sentences, noun) == (4, 2, 1, 6)


@given(st.text())
def test_parse_takes_any_text(text: str):
    parse(text)


@pytest.mark.parametrize("text", ["", " ", "I know the word!", "It is", "Name a thing that.", "Name a kind of ."])
def test_broken_sentences_mean_nothing(text: str):
    assert parse(text) == ()
