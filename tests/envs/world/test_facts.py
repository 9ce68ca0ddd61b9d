"""The everyday world is consistent: with itself, with English articles, and with what hints need."""

import os
import pickle
import random
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from sparring.envs.world.facts import KINDS, Fact, World, everyday, word_groups

WORLD = everyday()


def inflections(noun: str) -> set[str]:
    """The noun, its plural and what it would be as a verb, by the regular rules."""
    forms = {noun} | {noun + ending for ending in ("s", "es", "ing", "ed")}
    if noun.endswith("y"):
        forms.add(noun[:-1] + "ies")
    if noun.endswith("f"):
        forms.add(noun[:-1] + "ves")
    if noun.endswith("fe"):
        forms.add(noun[:-2] + "ves")
    if noun.endswith("e"):
        forms |= {noun[:-1] + ending for ending in ("ing", "ed")}
    return forms


def test_the_world_is_large_enough() -> None:
    assert len(WORLD.nouns) >= 300
    assert len(KINDS) >= 10
    assert {fact.kind for fact in WORLD.all_facts} == set(KINDS)


def test_nouns_are_plain_single_words() -> None:
    assert list(WORLD.nouns) == sorted(set(WORLD.nouns))
    assert all(re.fullmatch("[a-z]+", noun) for noun in WORLD.nouns)


def test_values_are_plain_words() -> None:
    assert all(re.fullmatch("[A-Za-z]+([ -][A-Za-z]+)*", fact.value) for fact in WORLD.all_facts)


def test_no_two_nouns_have_equal_facts() -> None:
    assert len({WORLD.facts[noun] for noun in WORLD.nouns}) == len(WORLD.nouns)


def test_every_noun_has_enough_kinds_of_fact_and_one_size() -> None:
    for noun in WORLD.nouns:
        counts = Counter(fact.kind for fact in WORLD.facts[noun])
        assert len(counts) >= 9, (noun, counts)
        assert counts["size"] == 1, noun
        assert max(counts.values()) <= 5, (noun, counts)
        assert counts["category"] in (1, 2), noun


def test_every_value_is_shared() -> None:
    counts = Counter(fact for noun in WORLD.nouns for fact in WORLD.facts[noun])
    assert min(counts.values()) >= 4, counts.most_common()[-1]


def test_no_noun_can_be_uttered_by_naming_a_value() -> None:
    words = {word for fact in WORLD.all_facts for word in re.findall("[a-z]+", fact.value.lower())}
    assert not {noun: inflections(noun) & words for noun in WORLD.nouns if inflections(noun) & words}


def test_no_noun_is_a_form_of_another() -> None:
    nouns = set(WORLD.nouns)
    assert not {noun for noun in nouns if (inflections(noun) - {noun}) & nouns}


def test_articles() -> None:
    for noun in WORLD.nouns:
        # By sound: "a ukulele" and "an hour" would be exceptions, and no such noun is in the table.
        assert WORLD.articles[noun] in ("", "an" if noun[0] in "aeiou" else "a"), noun
    assert (WORLD.a("lemon"), WORLD.a("apple"), WORLD.a("bread")) == ("a lemon", "an apple", "bread")
    assert not [noun for noun in WORLD.nouns if re.match("(uni|use|eu|hour|hono|heir)", noun)]
    # "A {user} needs it.", "It makes a {sound} sound."
    assert not [v for kind in ("user", "sound") for v in WORLD.values(kind) if v[0] in "aeiou"]


def test_facts_a_person_would_certainly_know() -> None:
    for noun, kind, value in (
        ("apple", "colour", "red"), ("apple", "colour", "green"), ("lemon", "taste", "sour"),
        ("elephant", "size", "huge"), ("knife", "part", "a blade"), ("piano", "use", "make music"),
    ):  # fmt: skip
        assert WORLD.has(noun, Fact(kind, value))
    assert not WORLD.has("lemon", Fact("colour", "blue"))
    assert not WORLD.has("lemon", Fact("colour", "no such colour"))


def test_relations_agree_in_both_directions() -> None:
    for i, noun in enumerate(WORLD.nouns):
        for j, fact in enumerate(WORLD.all_facts):
            known = fact in WORLD.facts[noun]
            assert WORLD.has(noun, fact) == known == WORLD.matrix[i, j]
    for fact in WORLD.all_facts:
        assert WORLD.nouns_with(fact) == tuple(n for n in WORLD.nouns if fact in WORLD.facts[n])
        assert fact.value in WORLD.values(fact.kind)
    assert sum(len(WORLD.values(kind)) for kind in KINDS) == len(WORLD.all_facts)
    assert all(list(WORLD.values(kind)) == sorted(set(WORLD.values(kind))) for kind in KINDS)


def test_consistent_agrees_with_its_definition() -> None:
    rng = random.Random(0)
    for _ in range(500):
        noun = rng.choice(WORLD.nouns)
        true = rng.sample(sorted(WORLD.facts[noun]), rng.randrange(4))
        false = [fact for fact in rng.sample(WORLD.all_facts, 6) if fact not in WORLD.facts[noun]]
        consistent = WORLD.consistent(true, false)
        assert noun in consistent
        assert consistent == tuple(n for n in WORLD.nouns if WORLD.facts[n].issuperset(true) and WORLD.facts[n].isdisjoint(false))
        assert WORLD.candidates(true, false).bit_count() == len(consistent)
    assert WORLD.consistent((), ()) == WORLD.nouns
    assert WORLD.nouns_with(Fact("colour", "no such colour")) == ()
    assert WORLD.consistent((), [Fact("colour", "no such colour")]) == WORLD.nouns


def test_several_hints_are_needed() -> None:
    rng = random.Random(0)
    left: dict[int, list[int]] = {k: [] for k in (1, 2, 3, 4)}
    for noun in WORLD.nouns:
        for _ in range(20):
            hints = rng.sample(sorted(WORLD.facts[noun]), 4)
            for k in left:
                left[k].append(WORLD.candidates(hints[:k], ()).bit_count())
    mean = {k: float(np.mean(v)) for k, v in left.items()}
    assert mean[1] > 30 and mean[2] > 6 and mean[3] > 2 and mean[1] > mean[2] > mean[3] > mean[4] > 1, mean
    assert 0.4 < np.mean(np.array(left[4]) == 1) < 0.8


def test_many_nouns_share_most_facts_with_another() -> None:
    def shared(noun: str, other: str) -> float:
        return len(WORLD.facts[noun] & WORLD.facts[other]) / len(WORLD.facts[noun])

    nearest = [max(shared(a, b) for b in WORLD.nouns if b != a) for a in WORLD.nouns]
    assert np.mean(np.array(nearest) > 0.5) > 0.9
    assert np.mean(np.array(nearest) > 2 / 3) > 0.4
    assert shared("lemon", "lime") > 0.75


def test_groups_are_disjoint_complete_and_stratified() -> None:
    groups = word_groups()
    assert sorted(noun for group in groups for noun in group) == list(WORLD.nouns)
    assert all(list(group) == sorted(group) for group in groups)
    n = len(WORLD.nouns)
    for group, share in zip(groups, (3 / 8, 3 / 8, 2 / 8), strict=True):
        assert abs(len(group) - share * n) <= 1
        for category in WORLD.values("category"):
            members = [x for x in WORLD.nouns if category == _stratum(x)]
            assert abs(len(set(members) & set(group)) - share * len(members)) < 2, category
    assert groups == word_groups(WORLD)


def _stratum(noun: str) -> str:
    return min(fact.value for fact in WORLD.facts[noun] if fact.kind == "category")


def test_imitated_words_show_every_fact() -> None:
    seen = {fact for noun in word_groups().sft for fact in WORLD.facts[noun]}
    assert seen == set(WORLD.all_facts), set(WORLD.all_facts) - seen


@pytest.mark.parametrize("seed", ["0", "1", "12345"])
def test_the_same_in_every_process(seed: str) -> None:
    code = (
        "from sparring.envs.world.facts import everyday, word_groups; w = everyday();"
        "print(w.nouns, w.all_facts, w.matrix.sum(0).tolist(), word_groups(),"
        " [w.nouns_with(f) for f in w.all_facts])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    here = (WORLD.nouns, WORLD.all_facts, WORLD.matrix.sum(0).tolist(), word_groups())
    expected = " ".join(map(str, here)) + f" {[WORLD.nouns_with(f) for f in WORLD.all_facts]}\n"
    assert result.stdout == expected


def test_a_world_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        WORLD.facts["lemon"] = frozenset()  # type: ignore[index]
    with pytest.raises(AttributeError):
        WORLD.nouns = ()  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        WORLD.matrix[0, 0] = True
    table = {"apple": frozenset({Fact("colour", "red")})}
    small = World(("apple",), table, {"apple": "an"})
    table["apple"] = frozenset()
    assert small.has("apple", Fact("colour", "red"))


def test_a_world_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(WORLD))
    assert copy.nouns == WORLD.nouns and copy.facts == WORLD.facts and copy.articles == WORLD.articles
    assert np.array_equal(copy.matrix, WORLD.matrix)


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'color'.*colour"):
        WORLD.values("color")
