"""Base texts: deterministic, true, and silent about what the reasoning test holds out."""

import hashlib
import random
from itertools import islice

from sparring.envs.world.english import Hint, parse, truth
from sparring.envs.world.facts import everyday, word_groups
from sparring.envs.world.questions import HELDOUT
from sparring.selfplay.mini.corpus import NEW_WORD, conversations, description, plain_game, reasoning, riddles, talk

WORLD = everyday()


def test_same_seed_same_texts():
    assert list(islice(conversations(3), 50)) == list(islice(conversations(3), 50))
    assert list(islice(conversations(3), 50)) != list(islice(conversations(4), 50))


def test_the_texts_are_those_of_the_shipped_base():
    found = hashlib.sha256()
    for text in islice(conversations(0), 500):
        found.update("".join(f"{message.role}: {message.content}\n" for message in text).encode())
    assert found.hexdigest() == "204981a6e6fd8a58caae2734505d9ea4ce37f2a795112b9f868f7e6df81ec0c7"


def test_conversations_alternate_and_end_with_the_assistant():
    for text in islice(conversations(0), 200):
        roles = [message.role for message in text if message.role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)


def test_plain_attackers_tell_the_truth():
    rng = random.Random(0)
    for _ in range(200):
        first, _ = plain_game(WORLD, rng)
        secret = first[0].content.removesuffix(".").split()[-1]
        said = [message.content for message in first if message.role == "assistant"]
        found = truth(said, secret)
        assert found.claims == found.true and found.unparsed == 0


def test_reasoning_questions_leave_out_held_out_words():
    heldout = set(word_groups().heldout)
    rng = random.Random(1)
    words = {word for _ in range(300) for m in reasoning(WORLD, rng) for word in m.content.lower().replace(",", " ").split()}
    assert not {word.strip(".?:") for word in words} & heldout


def test_heldout_formats_do_not_occur():
    text = " ".join(message.content for c in islice(conversations(5), 3000) for message in c)
    for make in HELDOUT:
        opening = make(WORLD, WORLD.nouns, random.Random(0)).text.split(":")[0]
        assert opening not in text
    assert "Leave out" not in text and "smaller" not in text and "Choose the one" in text


def test_talk_covers_every_word():
    rng = random.Random(2)
    text = " ".join(message.content.lower() for _ in range(1500) for message in talk(WORLD, rng))
    assert [noun for noun in WORLD.nouns if f" {noun}" not in text] == []


def test_descriptions_are_hints():
    rng = random.Random(3)
    answers = [
        parse(second.content)
        for _ in range(300)
        for first, second in zip(*[iter(talk(WORLD, rng))] * 2, strict=True)
        if first.content.startswith("Describe")
    ]
    assert answers and all(isinstance(act, Hint) for acts in answers for act in acts)


def test_descriptions_are_true_and_dense():
    rng = random.Random(0)
    for _ in range(100):
        talk = description(WORLD, rng)
        word = next(noun for noun in sorted(WORLD.nouns, key=len, reverse=True) if talk[0].content.rstrip(".").endswith(f" {noun}"))
        found = truth([talk[-1].content], word)
        assert found.claims == found.true >= 8


def test_riddles_are_answered_by_words_that_fit():
    rng = random.Random(0)
    seen = 0
    for _ in range(100):
        facts: list = []
        for message in riddles(WORLD, rng):
            if message.role == "user":
                facts = [] if message.content.startswith(NEW_WORD) else facts
                facts += [act.fact for act in parse(message.content.removeprefix(NEW_WORD)) if isinstance(act, Hint)]
            else:
                (act,) = parse(message.content)
                assert act.noun in WORLD.nouns_with(*facts)
                seen += 1
    assert seen > 500
