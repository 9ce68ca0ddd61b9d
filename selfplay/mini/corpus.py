"""The base texts of the embedded model: conversations generated out of the everyday world.

Facts are asked in both directions and several phrasings; games are played in the game's own chat format, for all words, by scripted players
whose habits are plain (no lies, no slips), so that a model trained on them knows its facts where it will need them. Reasoning formats are
shown on words that are not held out. The same texts are the SFT mix of self-play.
"""

import random
from collections.abc import Iterator

from sparring.agents.players.scripted import AttackerStyle, DefenderStyle, attack, defend
from sparring.envs.core import Task
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.views import Message
from sparring.envs.world.english import Answer, Ask, Declare, Hint, phrasings, thing_with
from sparring.envs.world.facts import World, everyday, word_groups
from sparring.envs.world.questions import BASE, TRAINED

Conversation = tuple[Message, ...]

PLAIN_ATTACKER = AttackerStyle(ask=0.25, decoy=0.3, lie=0.0, react=0.1, thank=0.7, stumble=0.0)
PLAIN_DEFENDER = DefenderStyle(sure=1, talk=0.6, care=0.5, probe=0.35, guess=0.1, slip=0.0, late=0.0)
FACTS_AT_ONCE = 12
"""Most sentences of a full description."""
NEW_WORD = "A new word."
ALL_AT_ONCE = "Say all that you know."
TURNS_OF_TALK = 6
"""Questions and answers in one conversation."""


def _reverse(world: World, rng: random.Random) -> tuple[str, str]:
    """Asks for a word by one or two facts."""
    word = rng.choice(world.nouns)
    facts = rng.sample(sorted(world.facts[word]), k=rng.choice((1, 2, 2)))
    ask = Ask(tuple(sorted(facts, key=lambda fact: fact.kind != "category")))
    named = rng.choice(world.nouns_with(*facts))
    return rng.choice(phrasings(ask, world)), rng.choice(phrasings(Answer(named), world))


def _describe(world: World, rng: random.Random) -> tuple[str, str]:
    """Asks to describe a word; the answer is two true sentences about it."""
    word = rng.choice(world.nouns)
    facts = rng.sample(sorted(world.facts[word]), k=2)
    return f"Describe {world.a(word)}.", " ".join(rng.choice(phrasings(Hint(f), world)) for f in facts)


def _is_it(world: World, rng: random.Random) -> tuple[str, str]:
    """Asks for a word that fits two descriptions at once."""
    word = rng.choice(world.nouns)
    facts = rng.sample(sorted(world.facts[word]), k=3)
    named = rng.choice(world.nouns_with(*facts))
    return f"What is {thing_with(tuple(facts))}?", rng.choice(phrasings(Answer(named), world)[:1])


def description(world: World, rng: random.Random) -> Conversation:
    """Most of what there is to say about a word, in one message: as an answer, or in the attacker's place, when asked for all at once.

    Nothing else is so dense in facts: the game's own talk carries a fact in about twenty tokens, this in seven.
    """
    word = rng.choice(world.nouns)
    facts = rng.sample(sorted(world.facts[word]), k=min(FACTS_AT_ONCE, len(world.facts[word])))
    text = " ".join(rng.choice(phrasings(Hint(fact), world)) for fact in facts)
    if rng.random() < 0.5:
        return Message("user", f"Describe {world.a(word)}."), Message("assistant", text)
    system = TABOO_BRIEF.system["attacker"].format(word=word)
    return Message("system", system), Message("user", ALL_AT_ONCE), Message("assistant", text)


def riddles(world: World, rng: random.Random) -> Conversation:
    """Hints of a game and the word that they are about, all at once or step by step: inference, densely."""
    messages: list[Message] = []
    while len(messages) < 2 * TURNS_OF_TALK:
        word = rng.choice(world.nouns)
        facts = rng.sample(sorted(world.facts[word]), k=rng.choice((1, 2, 2, 3, 3, 4, 5)))
        hints = [rng.choice(phrasings(Hint(fact), world)) for fact in facts]
        if rng.random() < 0.5:
            hints = [" ".join(hints)]
        for number, hint in enumerate(hints, 1):
            fitting = world.nouns_with(*facts[:number]) if len(hints) > 1 else (word,)
            said = rng.choice((Answer(rng.choice(fitting)), Declare(rng.choice(fitting))))
            text = hint if number > 1 else f"{NEW_WORD} {hint}"
            messages += [Message("user", text), Message("assistant", rng.choice(phrasings(said, world)))]
    return tuple(messages)


def talk(world: World, rng: random.Random) -> Conversation:
    """A conversation of questions about facts, all words."""
    messages: list[Message] = []
    for _ in range(TURNS_OF_TALK):
        draw = rng.random()
        if draw < 0.3:
            question, answer = _reverse(world, rng)
        elif draw < 0.45:
            question, answer = _describe(world, rng)
        elif draw < 0.6:
            question, answer = _is_it(world, rng)
        else:
            item = rng.choice(BASE)(world, world.nouns, rng)
            question, answer = item.text, item.answer
        messages += [Message("user", question), Message("assistant", answer)]
    return tuple(messages)


def reasoning(world: World, rng: random.Random) -> Conversation:
    """A conversation of reasoning questions, on words that are not held out."""
    groups = word_groups(world)
    words = (*groups.sft, *groups.rl)
    messages: list[Message] = []
    for _ in range(TURNS_OF_TALK):
        item = rng.choice(TRAINED)(world, words, rng)
        messages += [Message("user", item.text), Message("assistant", item.answer)]
    return tuple(messages)


def plain_game(world: World, rng: random.Random) -> tuple[Conversation, Conversation]:
    """A game about any word, played plainly: what the attacker and the defender saw and said."""
    secret = rng.choice(world.nouns)
    game = AdversarialTaboo()
    state = game.start(Task("corpus", secret, secret, 0))
    attacker = AttackerStyle(**{**PLAIN_ATTACKER.__dict__, "ask": rng.choice((0.0, 0.0, 0.3, 0.8))})
    defender = DefenderStyle(**{**PLAIN_DEFENDER.__dict__, "sure": rng.choice((1, 1, 2, 4))})
    while state.to_act is not None:
        if state.to_act == "attacker":
            text = attack(secret, attacker, state.utterances, world, rng)
        else:
            spoken = sum(u.role == "defender" for u in state.utterances)
            text = defend(defender, state.utterances, game.max_turns - spoken, world, rng)
        state = state.apply(text)
    first, second = (_own(TABOO_BRIEF.render(state.observe(role))) for role in ("attacker", "defender"))
    return first, second


def _own(view: Conversation) -> Conversation:
    """A view up to the role's own last message; what comes after it teaches nothing."""
    return view[:-1] if view[-1].role == "user" else view


def conversations(seed: int, world: World | None = None) -> Iterator[Conversation]:
    """An endless stream of base conversations: by count about 2/5 facts, 1/2 views of games, 1/10 reasoning."""
    world = world or everyday()
    rng = random.Random(seed)
    while True:
        draw = rng.random()
        if draw < 0.55:
            yield talk(world, rng)
        elif draw < 0.68:
            yield reasoning(world, rng)
        else:
            yield from plain_game(world, rng)
