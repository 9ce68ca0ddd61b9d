"""Questions about the everyday world with exact answers: the material of the embedded model's base and of the
everyday reasoning test.

A *format* is a way to ask. `TRAINED` formats occur in the base texts (about words that are not held out),
`HELDOUT` formats never do.
"""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .english import PHRASINGS, sentence, thing_with
from .facts import Fact, World

SIZES = ("tiny", "small", "middle-sized", "big", "huge")


class Question(NamedTuple):
    """One question. options: the possible answers, including the right one (multiple choice). words: the
    nouns that it is about, the right one first where the answer is a noun."""

    format: str
    text: str
    answer: str
    options: tuple[str, ...]
    words: tuple[str, ...]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _named(world: World, noun: str) -> str:
    return _capital(world.a(noun)) + "."


def _list(world: World, nouns: Sequence[str]) -> str:
    return ", ".join(world.a(noun) for noun in nouns)


def _fact(world: World, noun: str, rng: random.Random) -> Fact:
    return rng.choice(sorted(world.facts[noun]))


def _without(world: World, words: Sequence[str], facts: Sequence[Fact], n: int, rng: random.Random) -> list[str]:
    """n words that lack at least one of the facts."""
    chosen: list[str] = []
    while len(chosen) < n:
        word = rng.choice(words)
        if word not in chosen and not all(world.has(word, fact) for fact in facts):
            chosen.append(word)
    return chosen


def _shuffled(items: Sequence[str], rng: random.Random) -> list[str]:
    return rng.sample(list(items), k=len(items))


def _values(world: World, noun: str, kind: str) -> tuple[str, ...]:
    """All values of one kind that a noun has, sorted."""
    return tuple(sorted(fact.value for fact in world.facts[noun] if fact.kind == kind))


def _wrong_values(world: World, right: tuple[str, ...], kind: str, rng: random.Random, n: int = 3) -> list[tuple[str, ...]]:
    """n wrong answers in the form of the right one: as many values, not all of them true, taken from other
    nouns, no value in two answers; where that is impossible, any values of the kind."""
    answers: list[tuple[str, ...]] = []
    for noun in _shuffled(world.nouns, rng):
        values = _values(world, noun, kind)
        if len(values) == len(right) and not set(values) & {v for answer in (right, *answers) for v in answer}:
            answers.append(values)
            if len(answers) == n:
                return answers
    while len(answers) < n:  # from all values: were the right one's left out, the answer that shares no value would be the right one
        values = tuple(sorted(rng.sample(world.values(kind), k=len(right))))
        if values not in (right, *answers):
            answers.append(values)
    return answers


def recall(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """The values of one kind for one word. Knowing only how common each value is gives 0.40 right answers."""
    word = rng.choice(words)
    kind = _fact(world, word, rng).kind
    text = _capital(PHRASINGS[kind].what.format(s=world.a(word)))
    right = _values(world, word, kind)
    others = [v for v in world.values(kind) if v not in right]
    # NOTE: the base texts, which show no options, hang on these draws; so options come from a generator that
    # they seed.
    option_rng = random.Random(repr(rng.sample(others, k=min(3, len(others)))))
    answer, *wrong = (_capital(" and ".join(values)) + "." for values in (right, *_wrong_values(world, right, kind, option_rng)))
    return Question("recall", text, answer, tuple(_shuffled((answer, *wrong), option_rng)), (word,))


def yes_no(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """Whether a word has a fact; half of the answers are yes."""
    word, other = rng.choice(words), rng.choice(words)
    absent = sorted(world.facts[other] - world.facts[word])
    fact = rng.choice(absent) if absent and rng.random() < 0.5 else _fact(world, word, rng)
    text = sentence(PHRASINGS[fact.kind].asks, world.a(word), fact.value)
    answer = "Yes." if world.has(word, fact) else "No."
    return Question("yes_no", text, answer, ("Yes.", "No."), (word,))


def _first(word: str, words: Sequence[str]) -> tuple[str, ...]:
    return (word, *(other for other in words if other != word))


def choose(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """The one of three words that has a fact."""
    word = rng.choice(words)
    fact = _fact(world, word, rng)
    shown = _shuffled([word, *_without(world, words, [fact], 2, rng)], rng)
    text = f"Choose the one {PHRASINGS[fact.kind].clause.format(v=fact.value)}: {_list(world, shown)}."
    return Question("choose", text, _named(world, word), tuple(_named(world, w) for w in shown), _first(word, shown))


def odd_one(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """The one of three words that is of another kind."""
    by_kind: dict[Fact, list[str]] = {}
    for word in words:
        for fact in world.facts[word]:
            if fact.kind == "category":
                by_kind.setdefault(fact, []).append(word)
    fact = rng.choice(sorted(fact for fact, members in by_kind.items() if len(members) > 1))
    odd = _without(world, words, [fact], 1, rng)[0]
    shown = _shuffled([odd, *rng.sample(sorted(by_kind[fact]), k=2)], rng)
    text = f"Which one is not like the others: {_list(world, shown)}?"
    return Question("odd_one", text, _named(world, odd), tuple(_named(world, w) for w in shown), _first(odd, shown))


def _compare(name: str, question: str, sign: int) -> Callable[[World, Sequence[str], random.Random], Question]:
    def compare(world: World, words: Sequence[str], rng: random.Random) -> Question:
        def size(word: str) -> int:
            return max(SIZES.index(f.value) for f in world.facts[word] if f.kind == "size")

        first, second = rng.sample(list(words), k=2)
        while size(first) == size(second):
            first, second = rng.sample(list(words), k=2)
        winner = first if sign * size(first) > sign * size(second) else second
        text = question.format(a=world.a(first), b=world.a(second))
        return Question(name, text, _named(world, winner), (_named(world, first), _named(world, second)), _first(winner, (first, second)))

    return compare


bigger = _compare("bigger", "Which is bigger, {a} or {b}?", 1)
smaller = _compare("smaller", "Which is smaller, {a} or {b}?", -1)


def both(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """Whether a fact holds of two words."""
    first = rng.choice(words)
    fact = _fact(world, first, rng)
    sharing = [w for w in words if w != first and world.has(w, fact)]
    second = rng.choice(sharing) if sharing and rng.random() < 0.5 else rng.choice([w for w in words if w != first])
    text = f"Is each of them {thing_with((fact,))}: {_list(world, [first, second])}?"
    answer = "Yes." if world.has(second, fact) else "No."
    return Question("both", text, answer, ("Yes.", "No."), (first, second))


def choose_two_facts(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """The one of three words that has both of two facts; the others have at most one of them."""
    word = rng.choice(words)
    facts = rng.sample(sorted(world.facts[word]), k=2)
    shown = _shuffled([word, *_without(world, words, facts, 2, rng)], rng)
    clauses = " and ".join(PHRASINGS[f.kind].clause.format(v=f.value) for f in facts)
    text = f"Choose the one {clauses}: {_list(world, shown)}."
    return Question("choose_two_facts", text, _named(world, word), tuple(_named(world, w) for w in shown), _first(word, shown))


def leave_out(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """The one of three words that lacks a fact which the others share."""
    while True:
        word = rng.choice(words)
        fact = _fact(world, word, rng)
        sharing = [w for w in words if w != word and world.has(w, fact)]
        if sharing:
            break
    odd = _without(world, words, [fact], 1, rng)[0]
    shown = _shuffled([word, rng.choice(sharing), odd], rng)
    text = f"Leave out the one that is not {thing_with((fact,))}: {_list(world, shown)}."
    return Question("leave_out", text, _named(world, odd), tuple(_named(world, w) for w in shown), _first(odd, shown))


Format = Callable[[World, Sequence[str], random.Random], Question]

BASE: tuple[Format, ...] = (recall, yes_no)
"""Facts themselves: in the base texts for all words."""
TRAINED: tuple[Format, ...] = (choose, odd_one, bigger, both)
"""Reasoning formats of the base texts, about words that are not held out."""
HELDOUT: tuple[Format, ...] = (choose_two_facts, leave_out, smaller)
"""Reasoning formats that no training text contains."""
