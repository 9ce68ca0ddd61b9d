"""Parts of speech: what the table says, and that its script makes it."""

import importlib.util
from functools import cache
from pathlib import Path

import pytest

from sparring.envs.judge.word_forms import known_targets
from sparring.envs.words import parts_of_speech as parts
from sparring.envs.words.parts_of_speech import PARTS, words_of
from sparring.envs.world.facts import everyday

EXCERPT = Path(__file__).parent / "wordnet"
"""WordNet's own lines for a few words, licence text included."""


@cache
def build_script():
    spec = importlib.util.spec_from_file_location("build_parts", parts.TABLE_PATH.with_name("build_parts.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parts_are_apart_and_known_to_the_table_of_forms():
    whole = [word for part in PARTS for word in words_of(part)]
    assert len(whole) == len(set(whole)) > 19_000
    assert set(whole) <= set(known_targets())


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("noun", "lemon river piano horse wedding evening news bus child people idea"),
        ("verb", "bring take hear lose eat think"),
        ("adjective", "yellow big clear strange happy"),
        ("adverb", "slowly almost soon quickly"),
    ],
)
def test_words_are_what_a_speaker_takes_them_for(part: str, words: str):
    parts = {word: next((part for part in PARTS if word in words_of(part)), None) for word in words.split()}
    exceptions = {"people": None, "almost": None, "soon": None}  # a form of person; words of grammar
    assert parts == {word: exceptions.get(word, part) for word in words.split()}


@pytest.mark.parametrize("word", ["london", "monday", "john", "can", "might", "something", "cities", "taking", "rose", "us", "ox"])
def test_names_forms_grammar_and_two_letters_are_in_no_part(word: str):
    assert not any(word in words_of(part) for part in PARTS)


def test_most_nouns_of_the_everyday_world_are_nouns():
    known = set(known_targets()) & set(everyday().nouns)
    assert len(known & words_of("noun")) > 0.9 * len(known)


def test_an_unknown_part_is_named():
    with pytest.raises(ValueError, match="unknown part of speech 'pronoun'; known: noun, verb, adjective, adverb"):
        words_of("pronoun")


def test_the_script_counts_senses_as_worked_out_by_hand():
    """lemon: five senses, tagged 2 + 4 times. slowly: two, tagged 78 times. london: two with a capital, tagged 13 times."""
    counted = build_script().weights(EXCERPT)
    assert counted["lemon"] == {"noun": 11}
    assert counted["slowly"] == {"adv": 80}
    assert counted["london"] == {"noun": 15, "name": 15}


def test_the_table_is_what_its_script_makes_of_an_excerpt():
    build = build_script()
    noun, verb = {"lemon", "wedding"}, {"win", "wed", "kick"}
    left_out = {"won", "london", "jordan"}
    text = build.table(noun | verb | {"yellow", "slowly"} | left_out, build.weights(EXCERPT))
    assert text == "noun\tlemon wedding\nverb\tkick wed win\nadjective\tyellow\nadverb\tslowly\n"
    for line in text.splitlines():
        part, _, words = line.partition("\t")
        assert set(words.split()) <= words_of(part)


def test_the_whole_table_is_what_its_script_makes():
    wordnet = Path("/usr/share/wordnet")
    if not wordnet.is_dir():
        pytest.skip("needs the sources of the word forms (wordnet-base, lemminflect)")
    build = build_script()
    text = build.table(known_targets(), build.weights(wordnet))
    assert {name: frozenset(words.split()) for name, _, words in (line.partition("\t") for line in text.splitlines())} == parts._table()
