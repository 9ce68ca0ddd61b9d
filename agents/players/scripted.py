"""Scripted experts of the everyday world: players with a style, imperfect on purpose, who speak the world's
small English.

They understand their opponent by parsing, so they can play against models too; sentences that do not parse
are ignored. A style is a set of habits. `expert(role)` draws one per game, so demonstrations show many ways
to win and to lose.
"""

import random
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from sparring.envs.core import Game, Observation, Utterance
from sparring.envs.world.english import Act, Answer, Ask, Declare, Deflect, Guess, Hint, NotIt, Probe, React, parse, phrasings
from sparring.envs.world.facts import Fact, World, everyday

from ..core import Player, Reply, Request, Segment, derive_seed


@dataclass(frozen=True)
class AttackerStyle:
    """Habits of an attacker; all numbers are probabilities per turn.

    ask: asks the defender to name something instead of giving a hint. decoy: such a request is about another
    word. generous: a hint has two sentences. lie: a hint is false. react: begins with a comment on the last
    utterance. thank: gives a hint after the defender has named something (which rewards answering this
    attacker). stumble: says the secret word itself. pointed: of what could be
    said or asked, takes what fits the fewest nouns.
    """

    ask: float = 0.6
    decoy: float = 0.2
    generous: float = 0.5
    lie: float = 0.02
    react: float = 0.15
    thank: float = 0.6
    stumble: float = 0.004
    pointed: float = 0.0


@dataclass(frozen=True)
class DefenderStyle:
    """Habits of a defender; probabilities per turn unless noted.

    sure: declares when at most this many words fit the hints (a count). talk: answers a request by naming
    something. care: such an answer avoids the words that fit the hints, where possible. probe: asks about a
    property when there is no request to answer. guess: names its best candidate as a question. slip: forgets
    one of the hints when it declares. late: lets the game end undecided. wait: declares early only after more
    than this number of hints.
    """

    sure: int = 1
    talk: float = 0.8
    care: float = 0.2
    probe: float = 0.3
    guess: float = 0.1
    slip: float = 0.08
    late: float = 0.1
    wait: int = 0


CLEAR = ("pointed", "patient")
"""The styles, attacker's and defender's, that are played only where they are asked for: games that one can win by knowing the words."""
ATTACKERS: Mapping[str, AttackerStyle] = MappingProxyType(
    {
        "hinter": AttackerStyle(ask=0.2, generous=0.7, thank=0.9),
        "asker": AttackerStyle(ask=0.8, decoy=0.1, thank=0.4),
        "mixer": AttackerStyle(),
        "trickster": AttackerStyle(ask=0.65, decoy=0.3, generous=0.2, lie=0.08),
        "pointed": AttackerStyle(ask=0.5, generous=0.7, decoy=0.05, lie=0.0, stumble=0.0, pointed=0.8),
    }
)
DEFENDERS: Mapping[str, DefenderStyle] = MappingProxyType({
    "talker": DefenderStyle(talk=0.95, care=0.1, sure=1),
    "careful": DefenderStyle(talk=0.6, care=0.7, sure=1),
    "hasty": DefenderStyle(sure=4, talk=0.9),
    "prober": DefenderStyle(probe=0.6, guess=0.3, sure=1),
    "patient": DefenderStyle(talk=0.9, probe=0.1, guess=0.05, slip=0.0, late=0.0, wait=2),
})  # fmt: skip


def require_known(words: Sequence[str]) -> None:
    """Raises ValueError for secret words outside the everyday world."""
    if unknown := [word for word in words if word not in everyday().facts]:
        more = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
        raise ValueError(
            f"scripted players know the nouns of the everyday world alone, not {', '.join(map(repr, unknown[:3]))}{more}: "
            "take words from the list everyday, or another player than scripted"
        )


class Heard(NamedTuple):
    """What the utterances so far say about the secret. asked: facts in the attacker's requests, which claim
    nothing."""

    positive: frozenset[Fact]
    negative: frozenset[Fact]
    not_it: frozenset[str]
    asked: tuple[Fact, ...]

    def candidates(self, world: World) -> tuple[str, ...]:
        return tuple(n for n in world.consistent(self.positive, self.negative) if n not in self.not_it)


def listen(utterances: Sequence[Utterance]) -> Heard:
    """Collects the attacker's claims and requests. A noun that the defender named without losing the game is
    not the secret."""
    positive: set[Fact] = set()
    negative: set[Fact] = set()
    not_it: set[str] = set()
    asked: list[Fact] = []
    for utterance in utterances:
        for act in parse(utterance.text):
            if utterance.role == "defender":
                if isinstance(act, Answer | Guess):
                    not_it.add(act.noun)
                continue
            match act:
                case Hint(fact, True):
                    positive.add(fact)
                case Hint(fact, _):
                    negative.add(fact)
                case NotIt(noun):
                    not_it.add(noun)
                case Ask(facts):
                    asked.extend(facts)
    return Heard(frozenset(positive), frozenset(negative), frozenset(not_it), tuple(asked))


def _say(rng: random.Random, *acts: Act) -> str:
    return " ".join(rng.choice(phrasings(act)) for act in acts)


def _hints(secret: str, style: AttackerStyle, used: frozenset[Fact], world: World, rng: random.Random) -> list[Hint]:
    fresh = sorted(world.facts[secret] - used) or sorted(world.facts[secret])
    if rng.random() < style.lie:
        false = sorted(world.facts[rng.choice(world.nouns)] - world.facts[secret])
        fresh = false or fresh
    hints = min(len(fresh), 1 + (rng.random() < style.generous))
    if style.pointed and rng.random() < style.pointed:
        return [Hint(fact) for fact in _telling(fresh, used, hints, world, rng)]
    return [Hint(fact) for fact in rng.sample(fresh, k=hints)]


def _telling(facts: Sequence[Fact], known: Iterable[Fact], n: int, world: World, rng: random.Random) -> list[Fact]:
    """n of the facts, one after the other: what kind of thing it is, where that is not known, then one of the three that leave the fewest
    nouns beside what is known and what was taken."""
    taken: list[Fact] = []
    for _ in range(n):
        so_far = [*known, *taken]
        left = [fact for fact in facts if fact not in taken]
        kinds = [fact for fact in left if fact.kind == "category"]
        if not kinds or any(fact.kind == "category" for fact in so_far):
            rng.shuffle(left)
            kinds = sorted(left, key=lambda fact: world.candidates([*so_far, fact], ()).bit_count())[:3]
        taken.append(rng.choice(kinds))
    return taken


def _request(secret: str, style: AttackerStyle, asked: Sequence[Fact], world: World, rng: random.Random) -> Ask:
    about = rng.choice(world.nouns) if rng.random() < style.decoy else secret
    facts = sorted(world.facts[about] - set(asked)) or sorted(world.facts[about])
    k = min(2, len(facts))
    clear = style.pointed and rng.random() < style.pointed
    chosen = _telling(facts, (), k, world, rng) if clear else rng.sample(facts, k=k)
    return Ask(tuple(sorted(chosen, key=lambda fact: fact.kind != "category")))


def attack(secret: str, style: AttackerStyle, utterances: Sequence[Utterance], world: World, rng: random.Random) -> str:
    """The attacker's next utterance."""
    heard = listen(utterances)
    last = parse(utterances[-1].text) if utterances else ()
    if rng.random() < style.stumble:
        return _say(rng, Answer(secret))
    for act in last:
        match act:
            case Probe(fact):
                return f"{'Yes' if world.has(secret, fact) else 'No'}. {_say(rng, Hint(fact, world.has(secret, fact)))}"
            case Guess(noun):
                return f"No. {_say(rng, NotIt(noun))}"
    named = any(isinstance(act, Answer) for act in last)
    ask = (1 - style.thank) if named else style.ask
    acts: list[Act] = [React()] if utterances and rng.random() < style.react else []
    if rng.random() < ask:
        acts.append(_request(secret, style, heard.asked, world, rng))
    else:
        acts.extend(_hints(secret, style, heard.positive, world, rng))
    return _say(rng, *acts)


def _declaration(heard: Heard, style: DefenderStyle, world: World, rng: random.Random) -> str:
    """Declares a word that fits the hints, and the requests too if possible."""
    positive = sorted(heard.positive)
    if len(positive) > 1 and rng.random() < style.slip:
        positive.remove(rng.choice(positive))
    for believed in (positive + list(heard.asked), positive, positive[:-1]):
        fitting = heard._replace(positive=frozenset(believed)).candidates(world)
        if fitting:
            return _say(rng, Declare(rng.choice(fitting)))
    return _say(rng, Declare(rng.choice(world.nouns)))


def defend(style: DefenderStyle, utterances: Sequence[Utterance], turns_left: int, world: World, rng: random.Random) -> str:
    """The defender's next utterance. turns_left: how many times it may still speak, including now."""
    heard = listen(utterances)
    candidates = heard.candidates(world)
    last = parse(utterances[-1].text) if utterances else ()
    if len(heard.positive) > style.wait and len(candidates) <= style.sure:
        return _declaration(heard, style, world, rng)
    if turns_left <= 1 and rng.random() >= style.late:
        return _declaration(heard, style, world, rng)
    for act in last:
        if isinstance(act, Ask) and rng.random() < style.talk:
            fitting = [n for n in world.nouns_with(*act.facts) if n not in heard.not_it]
            safe = [n for n in fitting if n not in candidates] if heard.positive else []
            if safe and rng.random() < style.care:
                fitting = safe
            if fitting:
                return _say(rng, Answer(rng.choice(fitting)))
    if heard.positive and candidates and rng.random() < style.guess:
        return _say(rng, Guess(rng.choice(candidates)))
    if rng.random() < style.probe:
        return _say(rng, Probe(_question(candidates, world, rng)))
    return _say(rng, Deflect())


def _question(candidates: Sequence[str], world: World, rng: random.Random) -> Fact:
    """A property of some candidate, so that the answer separates the candidates."""
    return rng.choice(sorted(world.facts[rng.choice(candidates or world.nouns)]))


@dataclass(frozen=True)
class _ScriptedPlayer:
    role: str
    style: AttackerStyle | DefenderStyle
    seed: int
    world: World

    def act(self, observation: Observation) -> Generator[Request, Reply, Reply]:
        utterances = observation.utterances
        rng = random.Random(derive_seed(self.seed, len(utterances)))
        if isinstance(self.style, AttackerStyle):
            require_known([observation.private["word"]])
            text = attack(observation.private["word"], self.style, utterances, self.world, rng)
        else:
            spoken = sum(u.role == self.role for u in utterances)
            text = defend(self.style, utterances, int(observation.rules["max_turns"]) - spoken, self.world, rng)
        return Reply(text)
        yield  # a player's turn is a coroutine; this one never needs a language model

    def close(self) -> tuple[Segment, ...]:
        return ()


@dataclass(frozen=True)
class ScriptedAgent:
    """Plays either role, in one style per role, or in a style that is drawn for each game."""

    attacker: str | None = None
    defender: str | None = None
    weight_version: None = None

    def __post_init__(self) -> None:
        for style, known in ((self.attacker, ATTACKERS), (self.defender, DEFENDERS)):
            if style is not None and style not in known:
                raise ValueError(f"unknown style {style!r}; known styles: {', '.join(known)}")

    @property
    def name(self) -> str:
        styles = ",".join(style for style in (self.attacker, self.defender) if style)
        return f"scripted:{styles}" if styles else "scripted"

    def require(self, role: str, words: Sequence[str]) -> None:
        """Raises ValueError for a role that scripted players cannot play, and for secret words outside the
        everyday world."""
        if role not in ("attacker", "defender"):
            raise ValueError(f"scripted players know the roles attacker and defender, not {role!r}")
        require_known(words)

    def player(self, game: Game, role: str, key: str, seed: int) -> Player:
        self.require(role, ())
        rng = random.Random(derive_seed(seed, "style"))
        style: AttackerStyle | DefenderStyle
        if role == "attacker":
            style = ATTACKERS[self.attacker or rng.choice(sorted(ATTACKERS.keys() - CLEAR))]
        else:
            style = DEFENDERS[self.defender or rng.choice(sorted(DEFENDERS.keys() - CLEAR))]
        return _ScriptedPlayer(role, style, seed, everyday())


def scripted(style: str | None = None) -> ScriptedAgent:
    """The scripted player of a named style, or of mixed styles (None). Raises ValueError for an unknown
    style."""
    if style is None:
        return ScriptedAgent()
    if style in ATTACKERS:
        return ScriptedAgent(attacker=style)
    if style in DEFENDERS:
        return ScriptedAgent(defender=style)
    raise ValueError(f"unknown style {style!r}; known styles: {', '.join([*ATTACKERS, *DEFENDERS])}")
