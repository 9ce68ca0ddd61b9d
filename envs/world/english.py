"""The small English of the everyday world: what players say to each other, rendered and parsed.

Every sentence is an *act* (a hint, a request to name something, an answer, a declaration ...) in one of a few
phrasings, and every such sentence parses back into its act, so the truth of a model's claims can be checked
exactly. Other text parses to nothing; that is data, not an error. Knows nothing of games, roles or models.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from .facts import Fact, World, everyday


class Phrasing(NamedTuple):
    """The sentences about one kind of fact. {s}: the subject ("it", "a lemon"); {v}: the value.

    says: affirmative sentences, the plainest first. denies: the negative sentence. asks: the yes/no question.
    clause: the relative clause after "a thing". what: the question for the value.
    """

    says: tuple[str, ...]
    denies: str
    asks: str
    clause: str
    what: str


PHRASINGS: dict[str, Phrasing] = {
    "category": Phrasing(
        ("{s} is a kind of {v}.", "you can call {s} a kind of {v}.", "{s} belongs to the kind {v}."),
        "{s} is not a kind of {v}.", "is {s} a kind of {v}?", "that is a kind of {v}", "what kind of thing is {s}?",
    ),
    "colour": Phrasing(
        ("{s} is often {v}.", "the colour of {s} is {v}.", "you would paint {s} {v}."),
        "{s} is not often {v}.", "is {s} often {v}?", "that is often {v}", "what colour is {s}?",
    ),
    "size": Phrasing(
        ("{s} is {v}.", "the size of {s} is {v}.", "I would call {s} {v}."),
        "{s} is not {v}.", "is {s} {v}?", "that is {v}", "what size is {s}?",
    ),
    "shape": Phrasing(
        ("the shape of {s} is {v}.", "{s} looks {v}.", "you would draw {s} {v}."),
        "{s} does not look {v}.", "does {s} look {v}?", "that looks {v}", "what shape is {s}?",
    ),
    "material": Phrasing(
        ("{s} is made of {v}.", "people make {s} of {v}.", "there is {v} in {s}."),
        "{s} is not made of {v}.", "is {s} made of {v}?", "that is made of {v}", "what is {s} made of?",
    ),
    "cover": Phrasing(
        ("{s} is covered with {v}.", "you see {v} all over {s}.", "the outside of {s} is {v}."),
        "{s} is not covered with {v}.", "is {s} covered with {v}?", "that is covered with {v}", "what covers {s}?",
    ),
    "place": Phrasing(
        ("you find {s} {v}.", "look for {s} {v}.", "{s} has its place {v}."),
        "you do not find {s} {v}.", "do you find {s} {v}?", "that you find {v}", "where do you find {s}?",
    ),
    "use": Phrasing(
        ("people use {s} to {v}.", "with {s} you can {v}.", "{s} helps people to {v}."),
        "people do not use {s} to {v}.", "do people use {s} to {v}?", "that people use to {v}", "what do people use {s} for?",
    ),
    "part": Phrasing(
        ("{s} has {v}.", "{s} comes with {v}.", "you can see {v} on {s}."),
        "{s} does not have {v}.", "does {s} have {v}?", "that has {v}", "what parts does {s} have?",
    ),
    "feel": Phrasing(
        ("{s} feels {v}.", "when you touch {s} you feel that it is {v}.", "to the hand {s} is {v}."),
        "{s} does not feel {v}.", "does {s} feel {v}?", "that feels {v}", "how does {s} feel?",
    ),
    "taste": Phrasing(
        ("{s} tastes {v}.", "the taste of {s} is {v}.", "in the mouth {s} is {v}."),
        "{s} does not taste {v}.", "does {s} taste {v}?", "that tastes {v}", "how does {s} taste?",
    ),
    "sound": Phrasing(
        ("{s} makes a {v} sound.", "the sound of {s} is {v}.", "you hear a {v} sound from {s}."),
        "{s} does not make a {v} sound.", "does {s} make a {v} sound?", "that makes a {v} sound", "what sound does {s} make?",
    ),
    "user": Phrasing(
        ("a {v} needs {s}.", "{s} is useful to a {v}.", "you see a {v} with {s}."),
        "a {v} does not need {s}.", "does a {v} need {s}?", "that a {v} needs", "who needs {s}?",
    ),
    "time": Phrasing(
        ("you think of {s} {v}.", "{s} goes well {v}.", "people like {s} {v}."),
        "you do not think of {s} {v}.", "do you think of {s} {v}?", "that you think of {v}", "when do you think of {s}?",
    ),
    "motion": Phrasing(
        ("{s} can {v}.", "you may see {s} {v}.", "{s} is able to {v}."),
        "{s} cannot {v}.", "can {s} {v}?", "that can {v}", "what can {s} do?",
    ),
}  # fmt: skip

ASK_OPENERS = ("Name {n}.", "Can you name {n}?", "Tell me about {n}.", "Give me {n}.")
ANSWERS = ("{A}.", "Maybe {a}.", "I think of {a}.", "{A}, for example.")
GUESSES = ("Is it {a}?", "Could it be {a}?")
DECLARATIONS = ("I know the word! It is {a}.",)
DEFLECTIONS = (
    "I would rather not say.",
    "Let me think.",
    "Tell me more.",
    "That could be many things.",
    "Go on.",
)
REACTIONS = ("Good.", "I see.", "All right.", "Nice try.")


@dataclass(frozen=True)
class Hint:
    """A claim about the thing under discussion: it has the fact, or it has not."""

    fact: Fact
    positive: bool = True


@dataclass(frozen=True)
class NotIt:
    """A claim that the thing is not this noun."""

    noun: str


@dataclass(frozen=True)
class Ask:
    """A request to name something that has one or two given facts. Claims nothing about the secret."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Probe:
    """A yes/no question whether the thing has the fact."""

    fact: Fact


@dataclass(frozen=True)
class Guess:
    """A yes/no question whether the thing is this noun, without declaring it."""

    noun: str


@dataclass(frozen=True)
class Answer:
    """Names a noun."""

    noun: str


@dataclass(frozen=True)
class Declare:
    noun: str


@dataclass(frozen=True)
class Deflect:
    """An utterance without content."""


@dataclass(frozen=True)
class React:
    """A comment on the utterance before."""


Act = Hint | NotIt | Ask | Probe | Guess | Answer | Declare | Deflect | React


def sentence(template: str, subject: str, value: str) -> str:
    """A phrasing with its subject and value, capitalised."""
    text = template.format(s=subject, v=value)
    return text[0].upper() + text[1:]


def thing_with(facts: tuple[Fact, ...]) -> str:
    """ "a kind of fruit that tastes sour", "a thing that is made of wood and that feels hard"."""
    head, rest = "a thing", list(facts)
    if rest and rest[0].kind == "category":
        head = f"a kind of {rest.pop(0).value}"
    clauses = [PHRASINGS[f.kind].clause.format(v=f.value) for f in rest]
    return " ".join([head, " and ".join(clauses)]).strip()


def phrasings(act: Act, world: World | None = None) -> tuple[str, ...]:
    """All sentences for an act, the plainest first."""
    world = world or everyday()
    match act:
        case Hint(fact, True):
            return tuple(sentence(t, "it", fact.value) for t in PHRASINGS[fact.kind].says)
        case Hint(fact, _):
            return (sentence(PHRASINGS[fact.kind].denies, "it", fact.value),)
        case NotIt(noun):
            return (f"It is not {world.a(noun)}.",)
        case Probe(fact):
            return (sentence(PHRASINGS[fact.kind].asks, "it", fact.value),)
        case Ask(facts):
            return tuple(t.format(n=thing_with(facts)) for t in ASK_OPENERS)
        case Answer(noun):
            a = world.a(noun)
            return tuple(t.format(a=a, A=a[0].upper() + a[1:]) for t in ANSWERS)
        case Guess(noun):
            return tuple(t.format(a=world.a(noun)) for t in GUESSES)
        case Declare(noun):
            return tuple(t.format(a=world.a(noun)) for t in DECLARATIONS)
        case Deflect():
            return DEFLECTIONS
        case React():
            return REACTIONS


@cache
def _sentences() -> dict[str, Act]:
    """Every sentence except requests, whose facts combine freely."""
    world = everyday()
    acts: list[Act] = [Deflect(), React()]
    for kind in PHRASINGS:
        for value in world.values(kind):
            fact = Fact(kind, value)
            acts += [Hint(fact), Hint(fact, False), Probe(fact)]
    for noun in world.nouns:
        acts += [NotIt(noun), Guess(noun), Answer(noun), Declare(noun)]
    return {text.lower(): act for act in acts for text in phrasings(act, world)}


@cache
def _clauses() -> dict[str, Fact]:
    world = everyday()
    facts = [Fact(kind, value) for kind in PHRASINGS for value in world.values(kind)]
    return {PHRASINGS[f.kind].clause.format(v=f.value).lower(): f for f in facts}


_OPENERS = tuple(re.compile("^" + re.escape(opener.lower()).replace(re.escape("{n}"), "(a .*)") + "$") for opener in ASK_OPENERS)
_BREAK = re.compile(r"(?<=[.!?])\s+")
_KNOW = "i know the word!"


def _parse_ask(text: str) -> Ask | None:
    for opener in _OPENERS:
        if match := opener.match(text):
            break
    else:
        return None
    head, _, clauses = match.group(1).partition(" that ")
    facts: list[Fact] = []
    if head.startswith("a kind of "):
        category = Fact("category", head.removeprefix("a kind of "))
        if category not in _clauses().values():
            return None
        facts.append(category)
    elif head != "a thing":
        return None
    for clause in filter(None, re.split(r" and (?=that )", "that " + clauses) if clauses else []):
        fact = _clauses().get(clause)
        if fact is None:
            return None
        facts.append(fact)
    return Ask(tuple(facts)) if facts else None


def parse(text: str) -> tuple[Act, ...]:
    """The acts of an utterance, in order; other sentences are left out."""
    return tuple(act for _, act in parse_sentences(text) if act is not None)


def parse_sentences(text: str) -> Iterator[tuple[str, Act | None]]:
    """Each sentence with its act, None for sentences outside this English. A declaration's two sentences
    count as one."""
    pieces = _BREAK.split(" ".join(text.split()))
    index = 0
    while index < len(pieces):
        piece = pieces[index]
        if piece.lower() == _KNOW and index + 1 < len(pieces):
            index += 1
            piece = f"{piece} {pieces[index]}"
        index += 1
        lowered = piece.lower()
        if lowered in ("yes.", "no."):
            yield piece, React()
        else:
            yield piece, _sentences().get(lowered) or _parse_ask(lowered)


@cache
def sentence_words() -> frozenset[str]:
    """The words, in lower case, of all sentences and requests of this English."""
    texts = (*_sentences(), *_clauses(), *ASK_OPENERS, *(f"a kind of {kind}" for kind in everyday().values("category")))
    return frozenset(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))


class Truth(NamedTuple):
    """claims: claims about the secret. true: true ones among them. unparsed: sentences outside this English.
    sentences: all of them."""

    claims: int
    true: int
    unparsed: int
    sentences: int

    @property
    def true_share(self) -> float | None:
        """True claims as a share of all claims; None without claims."""
        return self.true / self.claims if self.claims else None

    @property
    def unparsed_share(self) -> float | None:
        """Sentences outside this English, whose truth is unknown, as a share of all; None without
        sentences."""
        return self.unparsed / self.sentences if self.sentences else None


TruthOf = Callable[[Iterable[str], str], Truth]
"""Counts the claims that utterances make about a secret."""


def truth(texts: Iterable[str], secret: str, world: World | None = None) -> Truth:
    """Checks the claims about a secret noun against the world. Nothing can be checked of a secret that the
    world does not know."""
    world = world or everyday()
    known = secret in world.facts
    claims = true = unparsed = sentences = 0
    for text in texts:
        for _, act in parse_sentences(text):
            sentences += 1
            match act:
                case Hint(fact, positive) if known:
                    claims += 1
                    true += world.has(secret, fact) == positive
                case NotIt(noun) if known:
                    claims += 1
                    true += noun != secret
                case None:
                    unparsed += 1
    return Truth(claims, true, unparsed, sentences)
