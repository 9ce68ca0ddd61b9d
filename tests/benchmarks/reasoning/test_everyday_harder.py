"""Harder everyday questions: one right answer by the world's table, no format that a training text has."""

import random
import re
from itertools import islice

import pytest

from sparring.benchmarks.reasoning.everyday import baselines, harder
from sparring.benchmarks.reasoning.everyday_harder import HARDER, HEADS, NUMBERS
from sparring.envs.world.english import PHRASINGS, thing_with
from sparring.envs.world.facts import Fact, everyday
from sparring.envs.world.questions import SIZES
from sparring.selfplay.mini.corpus import conversations

WORLD = everyday()
MADE = {name: [make(WORLD, WORLD.nouns, random.Random(seed)) for seed in range(40)] for name, make in HARDER}
ALL = [(name, question) for name, questions in MADE.items() for question in questions]


def facts_in(text: str, *, holds: bool = True) -> list[Fact]:
    """The clues about "it" in a question, read back from its sentences."""
    found = []
    for fact in WORLD.all_facts:
        phrasing = PHRASINGS[fact.kind]
        said = (phrasing.says[0] if holds else phrasing.denies).format(s="it", v=fact.value)
        if said[0].upper() + said[1:] in re.split(r"(?<=[.?]) ", text):
            found.append(fact)
    return found


def noun(option: str) -> str:
    return next(w for w in WORLD.nouns if WORLD.a(w).lower() == option.strip(" .").lower())


def test_the_right_answer_is_among_distinct_options():
    for _, question in ALL:
        assert question.answer in question.options and len(set(question.options)) == len(question.options)


@pytest.mark.parametrize("name", ["clues-2", "clues-3", "clues-4"])
def test_clues_fit_one_word_and_all_but_one_of_them_the_others(name: str):
    for question in MADE[name]:
        clues = facts_in(question.text)
        assert len(clues) == int(name[-1])
        for option in question.options:
            fitting = sum(WORLD.has(noun(option), clue) for clue in clues)
            assert fitting == len(clues) - (option != question.answer)


def test_a_negated_clue_is_what_tells_two_words_apart():
    for question in MADE["negated"]:
        (fact,), (other,) = facts_in(question.text), facts_in(question.text, holds=False)
        fits = {option for option in question.options if WORLD.has(noun(option), fact) and not WORLD.has(noun(option), other)}
        assert fits == {question.answer}
        assert sum(WORLD.has(noun(option), fact) for option in question.options) == 2, "without the negated clue two would fit"


def test_an_intersection_has_one_word_and_no_row_alone_gives_it():
    for question in MADE["intersection"]:
        first, second = (set(re.split(", ", row)) for row in re.findall(r"row: ([^.]*)\.", question.text))
        fact = next(f for f in WORLD.all_facts if question.text.endswith(f"what is {_thing(f)}?"))
        having = {WORLD.a(w) for w in WORLD.nouns if WORLD.has(w, fact)}
        assert [WORLD.a(noun(question.answer))] == sorted(first & second & having)
        assert len(first & having) == len(second & having) == 2 and len(first & second) == 2


def _thing(fact: Fact) -> str:
    return thing_with((fact,))


def test_a_chain_names_the_extreme_of_what_it_tells_and_tells_the_truth():
    for question in MADE["chain"]:
        pairs = [(noun(a + "."), noun(b + ".")) for a, b in re.findall(r"([^.:]+) is bigger than ([^.]+)\.", question.text)]
        assert len(pairs) == 3
        size = {w: SIZES.index(next(f.value for f in WORLD.facts[w] if f.kind == "size")) for pair in pairs for w in pair}
        assert all(size[big] > size[small] for big, small in pairs)
        bigger = "bigger than all others" in question.text
        never = {w for pair in pairs for w in pair} - {pair[1 if bigger else 0] for pair in pairs}
        assert never == {noun(question.answer)}


def test_counts_are_right_and_all_numbers_come():
    for question in MADE["counting"]:
        fact = next(f for f in WORLD.all_facts if f"are {_thing(f)}:" in question.text)
        assert question.answer == f"{NUMBERS[sum(WORLD.has(w, fact) for w in question.words)]}."
    assert len({question.answer for question in MADE["counting"]}) >= 5


def test_a_word_can_be_known_where_one_alone_fits():
    for question in MADE["abstention"]:
        clues = facts_in(question.text)
        fitting = [w for w in question.words if all(WORLD.has(w, clue) for clue in clues)]
        assert question.answer == ("Yes." if len(fitting) == 1 else "No.") and fitting
    assert 10 < sum(question.answer == "Yes." for question in MADE["abstention"]) < 30


def test_two_hops_and_analogies_have_one_right_value():
    for question in MADE["two_hops"]:
        picked = [w for w in question.words if any(f" {_clause(f)}:" in question.text for f in WORLD.facts[w])]
        assert picked == [question.words[0]]
    for question in MADE["analogy"]:
        second, first = question.words
        assert any(f.value.lower() == question.answer[:-1].lower() for f in WORLD.facts[second])
        wrong = [o[:-1].lower() for o in question.options if o != question.answer]
        kinds = {f.kind for f in WORLD.facts[second] if f.value.lower() == question.answer[:-1].lower()}
        assert not any(f.kind in kinds and f.value.lower() in wrong for f in WORLD.facts[second])
        assert any(f.value.lower() in wrong for f in WORLD.facts[first]), "the trap: the first word's own value"


def _clause(fact: Fact) -> str:
    return PHRASINGS[fact.kind].clause.format(v=fact.value)


def test_no_training_text_has_these_formats():
    """Held out by structure: every format has a head of its own, and 2,000 conversations of the base texts have none of them."""
    for name, question in ALL:
        assert any(head in question.text for head in HEADS), name
    texts = [message.content for chat in islice(conversations(0), 2000) for message in chat]
    assert sum(map(len, texts)) > 500_000
    assert not [head for head in HEADS if any(head.casefold() in text.casefold() for text in texts)]


def test_blind_answers_gain_little():
    found = baselines(harder(80))
    for task, one in found.items():
        assert one["chance"] - 0.2 < one["shortest"] < one["chance"] + 0.2, task
        assert one["chance"] - 0.2 < one["longest"] < one["chance"] + 0.2, task
