"""Questions have one right answer, among their options, and it is the world's."""

import random

import pytest

from sparring.envs.world.facts import everyday
from sparring.envs.world.questions import BASE, HELDOUT, SIZES, TRAINED, Format, recall, smaller

WORLD = everyday()


@pytest.mark.parametrize("make", BASE + TRAINED + HELDOUT, ids=lambda f: getattr(f, "__name__", "format"))
def test_every_question_has_its_answer_among_distinct_options(make: Format):
    rng = random.Random(1)
    for _ in range(200):
        item = make(WORLD, WORLD.nouns, rng)
        assert item.options.count(item.answer) == 1
        assert len(set(item.options)) == len(item.options) >= 2


def test_position_of_the_answer_tells_nothing():
    rng = random.Random(2)
    for make in (TRAINED[0], TRAINED[1], HELDOUT[0], HELDOUT[1]):  # three options each
        first = sum(item.options[0] == item.answer for item in (make(WORLD, WORLD.nouns, rng) for _ in range(600)))
        assert 150 < first < 250


def test_wrong_answers_of_recall_have_the_shape_of_the_right_one_and_are_false():
    rng = random.Random(4)
    alone = []
    for _ in range(2000):
        item = recall(WORLD, WORLD.nouns, rng)
        values = [set(option.lower().removesuffix(".").split(" and ")) for option in item.options]
        right = set(item.answer.lower().removesuffix(".").split(" and "))
        assert len(values) == 4
        assert all(len(each) == len(right) for each in values)
        assert values.count(right) == 1  # so that each other one holds a false value
        sharing_none = [each for each in values if sum(bool(each & other) for other in values) == 1] or values
        alone.append((right in sharing_none) / len(sharing_none))
    assert sum(alone) / len(alone) < 0.28  # an answer that shares no value with another is right no more often than by chance


def test_where_an_answer_names_a_noun_it_is_the_first_of_the_questions_words():
    """Intervals are clustered by it."""
    rng = random.Random(5)
    for make in TRAINED + HELDOUT:
        for _ in range(30):
            item = make(WORLD, WORLD.nouns, rng)
            if item.answer not in ("Yes.", "No."):
                assert item.answer.lower() == f"{WORLD.a(item.words[0])}."
                assert len(set(item.words)) == len(item.options)


def test_smaller_is_smaller():
    rng = random.Random(3)
    for _ in range(50):
        item = smaller(WORLD, WORLD.nouns, rng)
        size = {
            f"{WORLD.a(w)[0].upper()}{WORLD.a(w)[1:]}.": max(SIZES.index(f.value) for f in WORLD.facts[w] if f.kind == "size")
            for w in item.words
        }
        assert size[item.answer] == min(size.values())


def test_formats_are_told_apart():
    names = [make(WORLD, WORLD.nouns, random.Random(0)).format for make in BASE + TRAINED + HELDOUT]
    assert len(set(names)) == len(names)
