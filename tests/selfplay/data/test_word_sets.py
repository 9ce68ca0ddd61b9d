"""Words of the everyday world, and others beside them."""

from pathlib import Path

import pytest

from sparring.envs.words.lists import outside_words, word_list
from sparring.envs.world.english import sentence_words, truth
from sparring.envs.world.facts import everyday, word_groups
from sparring.selfplay.data.word_sets import word_sets

LETTERS = "abcdefghijklmnopqr"


def test_words_outside_the_world_are_in_no_demonstration():
    words = outside_words("everyday+band:501-1500")
    assert len(words) >= 200
    assert not set(words) & ({*everyday().nouns} | sentence_words())
    assert {"handle", "kitchen", "lemon", "jungle"} & sentence_words() == {"handle", "kitchen", "lemon", "jungle"}
    assert {"phone", "song"} <= set(words)


def test_groups_are_the_worlds_three_and_two_outside_it(tmp_path: Path):
    path = tmp_path / "words.txt"
    path.write_text("lemon\nlemons\nkitchens\n" + "".join(f"thing{letter}\n" for letter in LETTERS))
    sets = word_sets(f"everyday+{path}", 0.5, with_sft=True)
    assert (sets.sft, sets.rl, sets.heldout) == tuple(word_groups())
    assert set(sets.groups) == {"sft", "rl", "heldout", "outside", "outside-heldout"}
    assert sorted(sets.outside + sets.outside_heldout) == [f"thing{letter}" for letter in LETTERS]
    assert set(sets.outside) <= set(sets.played) and not set(sets.outside_heldout) & set(sets.played)
    assert sets.counts["outside"] == len(sets.outside) and sets.everyday
    assert word_list(f"everyday+{path}")[: len(everyday().nouns)] == everyday().nouns
    assert set(word_sets("everyday", 0.5, with_sft=True).counts) == {"sft", "rl", "heldout"}


def test_a_list_that_adds_nothing_is_refused(tmp_path: Path):
    path = tmp_path / "words.txt"
    path.write_text("lemon\n")
    with pytest.raises(ValueError, match="holds no words that the everyday world lacks"):
        word_sets(f"everyday+{path}", 0.1, with_sft=True)


def test_nothing_can_be_checked_of_a_secret_outside_the_world():
    said = ["It is a kind of fruit. It is not a lemon. Blah."]
    assert truth(said, "phone")[:2] == (0, 0) and truth(said, "phone").unparsed == 1
    assert truth(said, "plum")[:2] == (2, 2)
