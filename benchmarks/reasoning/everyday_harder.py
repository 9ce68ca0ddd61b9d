"""Everyday questions that need more steps, each with an exact answer from the world's table: the harder half
of the suite `everyday`.

No training text of the embedded model has any of these formats (`HEADS` occur in none): they are held out by
structure, not by words alone. Difficulty grows by clues (2, 3, 4), negation, sets, chains of comparisons, two
hops, analogies, counts, and by whether anything can be known at all. Other nouns than the shown ones play no
part, so that every answer follows from the question and the facts of what it shows.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from sparring.envs.world.english import PHRASINGS, thing_with
from sparring.envs.world.facts import Fact, World
from sparring.envs.world.questions import SIZES, Question

NUMBERS = ("None", "One", "Two", "Three", "Four", "Five")
HEADS = ("All clues hold", "In both rows", "In order of size", "Take the one", "goes with", "How many of these", "Can it be known")
"""Words that every format has, and no training text."""

Format = Callable[[World, Sequence[str], random.Random], Question]


def _clause(fact: Fact, *, holds: bool = True) -> str:
    """A clue about "it", as a sentence."""
    phrasing = PHRASINGS[fact.kind]
    text = (phrasing.says[0] if holds else phrasing.denies).format(s="it", v=fact.value)
    return text[0].upper() + text[1:]


def _named(world: World, word: str) -> str:
    text = world.a(word)
    return f"{text[0].upper()}{text[1:]}."


def _value(value: str) -> str:
    return f"{value[0].upper()}{value[1:]}."


def _shown(world: World, words: Sequence[str]) -> str:
    return ", ".join(world.a(word) for word in words)


def _question(world: World, name: str, text: str, right: str, shown: Sequence[str]) -> Question:
    return Question(name, text, _named(world, right), tuple(_named(world, w) for w in shown), (right, *(w for w in shown if w != right)))


def clues(world: World, words: Sequence[str], rng: random.Random, *, k: int) -> Question:
    """The one of four words of which k clues are true; of each other one exactly one clue is not."""
    while True:
        word = rng.choice(words)
        facts = rng.sample(sorted(world.facts[word]), k=k)
        near = [w for w in words if sum(world.has(w, fact) for fact in facts) == k - 1]
        if len(near) >= 3:
            shown = rng.sample([word, *rng.sample(near, k=3)], k=4)
            text = f"All clues hold for one of {_shown(world, shown)}. {' '.join(map(_clause, facts))} Which one?"
            return _question(world, f"clues-{k}", text, word, shown)


def negated(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """The one of three words that has a fact and lacks another; the others have both or lack the first."""
    while True:
        word = rng.choice(words)
        fact = rng.choice(sorted(world.facts[word]))
        sharing = [w for w in words if w != word and world.has(w, fact)]
        if not sharing:
            continue
        both = rng.choice(sharing)
        lacking = sorted(world.facts[both] - world.facts[word])
        neither = [w for w in words if not world.has(w, fact)]
        if lacking and neither:
            other = rng.choice(lacking)
            shown = rng.sample([word, both, rng.choice(neither)], k=3)
            text = f"All clues hold for one of {_shown(world, shown)}. {_clause(fact)} {_clause(other, holds=False)} Which one?"
            return _question(world, "negated", text, word, shown)


def intersection(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """The word of two rows with a fact; each row has another such word of its own, and the rows share
    another word without the fact."""
    while True:
        word = rng.choice(words)
        fact = rng.choice(sorted(world.facts[word]))
        having = [w for w in words if w != word and world.has(w, fact)]
        lacking = [w for w in words if not world.has(w, fact)]
        if len(having) >= 2 and len(lacking) >= 1:
            (first, second), shared = rng.sample(having, k=2), rng.choice(lacking)
            rows = [rng.sample([word, shared, own], k=3) for own in (first, second)]
            shown = rng.sample([word, shared, first, second], k=4)
            text = f"One row: {_shown(world, rows[0])}. Another row: {_shown(world, rows[1])}. In both rows, what is {thing_with((fact,))}?"
            return _question(world, "intersection", text, word, shown)


def chain(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """Four words of four sizes, compared in pairs that are told in any order: which is the biggest, or the
    smallest."""
    by_size = {size: [w for w in words if [f.value for f in world.facts[w] if f.kind == "size"] == [size]] for size in SIZES}
    sizes = [size for size in SIZES if by_size[size]]
    chosen = [rng.choice(by_size[size]) for size in sorted(rng.sample(sizes, k=4), key=SIZES.index)]
    pairs = [f"{_named(world, big)[:-1]} is bigger than {world.a(small)}." for small, big in pairwise(chosen)]
    most = rng.random() < 0.5
    right, shown = chosen[-1 if most else 0], rng.sample(chosen, k=4)
    text = f"In order of size: {' '.join(rng.sample(pairs, k=3))} Which one is {'bigger' if most else 'smaller'} than all others?"
    return _question(world, "chain", text, right, shown)


def two_hops(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """A fact picks one of three words; what is asked is another fact of that word, which the other two
    answer otherwise."""
    while True:
        shown = rng.sample(words, k=3)
        word = rng.choice(shown)
        others = [w for w in shown if w != word]
        picks = sorted(f for f in world.facts[word] if not any(world.has(w, f) for w in others))
        values = {w: {kind: sorted(f.value for f in world.facts[w] if f.kind == kind) for kind in PHRASINGS} for w in shown}
        kinds = sorted({f.kind for f in world.facts[word]})
        asked = [k for k in kinds if all(len(values[w][k]) == 1 for w in shown) and len({values[w][k][0] for w in shown}) == 3]
        hops = [(pick, kind) for pick in picks for kind in asked if pick.kind != kind]
        if hops:
            pick, kind = rng.choice(hops)
            what = PHRASINGS[kind].what.format(s="it")
            text = f"Take the one {PHRASINGS[pick.kind].clause.format(v=pick.value)}: {_shown(world, shown)}. {what[0].upper()}{what[1:]}"
            options = tuple(_value(values[w][kind][0]) for w in shown)
            return Question("two_hops", text, _value(values[word][kind][0]), options, (word, *others))


def analogy(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """What a second word has of the kind that is named for the first one; the first one's value is among
    the options."""
    while True:
        first, second = rng.sample(words, k=2)
        kind = rng.choice(sorted({f.kind for f in world.facts[first]} & {f.kind for f in world.facts[second]}))
        left, right = ([f.value for f in world.facts[w] if f.kind == kind] for w in (first, second))
        wrong = sorted(set(world.values(kind)) - {*left, *right})
        if len(left) == len(right) == 1 and left != right and wrong:
            options = rng.sample([right[0], left[0], rng.choice(wrong)], k=3)
            text = f"{_value(left[0])[:-1]} goes with {world.a(first)}. What goes with {world.a(second)} in the same way?"
            return Question("analogy", text, _value(right[0]), tuple(map(_value, options)), (second, first))


def counting(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """How many of five words have a fact: each number from none to five as likely."""
    while True:
        fact = rng.choice(world.all_facts)
        having, lacking = ([w for w in words if world.has(w, fact) is holds] for holds in (True, False))
        number = rng.randrange(6)
        if len(having) >= 5 and len(lacking) >= 5:
            shown = rng.sample([*rng.sample(having, k=number), *rng.sample(lacking, k=5 - number)], k=5)
            text = f"How many of these are {thing_with((fact,))}: {_shown(world, shown)}?"
            return Question("counting", text, f"{NUMBERS[number]}.", tuple(f"{n}." for n in NUMBERS), tuple(shown))


def abstention(world: World, words: Sequence[str], rng: random.Random) -> Question:
    """Whether two clues leave one word of four, or several: as often one as several."""
    known = rng.random() < 0.5
    while True:
        word = rng.choice(words)
        facts = rng.sample(sorted(world.facts[word]), k=2)
        fitting = [w for w in words if w != word and all(world.has(w, fact) for fact in facts)]
        other = [w for w in words if not all(world.has(w, fact) for fact in facts)]
        more = 0 if known else rng.choice((1, 2))
        if len(fitting) >= more and len(other) >= 3 - more:
            shown = rng.sample([word, *rng.sample(fitting, k=more), *rng.sample(other, k=3 - more)], k=4)
            text = f"The word is one of {_shown(world, shown)}. {' '.join(map(_clause, facts))} Can it be known yet which one it is?"
            return Question("abstention", text, "Yes." if known else "No.", ("Yes.", "No."), (word, *(w for w in shown if w != word)))


HARDER: tuple[tuple[str, Format], ...] = (
    ("clues-2", partial(clues, k=2)),
    ("clues-3", partial(clues, k=3)),
    ("clues-4", partial(clues, k=4)),
    ("negated", negated),
    ("intersection", intersection),
    ("chain", chain),
    ("two_hops", two_hops),
    ("analogy", analogy),
    ("counting", counting),
    ("abstention", abstention),
)
