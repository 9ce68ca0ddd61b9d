"""Prompts of the shipped games, and prompts that users give in files."""

import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from os.path import isfile
from pathlib import Path
from string import Formatter
from typing import Any

from ..core import GAMES
from ..text_files import hidden_character, parse_json, read_text
from ..views import GAME_PROMPTS, Prompts, Renderer, brief, register_prompts

TABOO_PROMPTS = Prompts(
    system={
        "attacker": (
            "Play the game of Adversarial Taboo. There are two players, an attacker and a defender. You are the attacker. "
            "Your secret word is {word}. Talk about anything related to it and make the defender say the word without noticing; "
            "never say the word yourself. The defender tries to find out the word, and may once say: "
            '"I know the word! It is ...". If that guess is wrong, you win; if it is right, you lose. '
            "Each player speaks at most {max_turns} times."
        ),
        "defender": (
            "Play the game of Adversarial Taboo. There are two players, an attacker and a defender. You are the defender. "
            "The attacker knows a secret word and tries to make you say it without noticing: then you lose. "
            "Answer the attacker, and find out the word. When you are sure, say: "
            '"I know the word! It is ..." with the word. You have one guess: if it is right you win, if it is wrong you lose. '
            "Each player speaks at most {max_turns} times."
        ),
    },
    opening="The game begins. You speak first.",
)
"""The full rules, for models that can read them: after SPAG's prompts (arXiv 2404.10642, appendix), in our
own words."""


TABOO_BRIEF = Prompts(
    system={
        "attacker": "You are the attacker. The secret word is {word}.",
        "defender": "You are the defender. Find the secret word.",
    },
    opening="Begin.",
)
"""Short prompts for a model that was trained on the game, as sparring-mini."""


_OTHER_RULES = (
    (
        "This is Adversarial Taboo, a game of two. You are the attacker and alone know the secret word, {word}. Lead the talk so that the "
        "defender says it unawares; should you say it yourself, you have lost. The defender may declare once: "
        '"I know the word! It is ...", and wins if that is right, else you win. There are {max_turns} utterances for each of you.',
        "This is Adversarial Taboo, a game of two. You are the defender. The attacker has a secret word and leads the talk so that you say "
        'it unawares, by which you lose. Once, when you are certain, declare: "I know the word! It is ..." and the word. '
        "You win if it is right and lose if it is wrong. There are {max_turns} utterances for each of you.",
    ),
    (
        "Two players meet in Adversarial Taboo. Yours is the attacker's part, and {word} is your secret word. You win when the defender "
        "utters it without meaning to, or guesses wrong; you lose when you utter it, or when the defender announces "
        '"I know the word! It is ..." and is right. Nobody speaks more than {max_turns} times.',
        "Two players meet in Adversarial Taboo. Yours is the defender's part; only the attacker has been told the secret word. You win by "
        'announcing "I know the word! It is ..." with the right word, which you may do a single time. You lose by a wrong one, or by '
        "uttering the word without meaning to. Nobody speaks more than {max_turns} times.",
    ),
)


_OTHER_BRIEFS = (
    ("Attack. Your secret word is {word}.", "Defend. Find out the secret word."),
    ("The secret word is {word}. You are the attacker.", "Find the secret word. You are the defender."),
)


def _worded(prompts: Prompts, others: tuple[tuple[str, str], ...]) -> tuple[Prompts, ...]:
    return (prompts, *(Prompts({"attacker": attacker, "defender": defender}, prompts.opening) for attacker, defender in others))


def taboo_paraphrases(prompts: Renderer) -> tuple[Prompts, ...]:
    """Paraphrases of Adversarial Taboo's prompts: of the brief ones for a model that plays by those, else of
    the full rules."""
    return _worded(TABOO_BRIEF, _OTHER_BRIEFS) if prompts == TABOO_BRIEF else _worded(TABOO_PROMPTS, _OTHER_RULES)


TWENTY_QUESTIONS = Prompts(
    system={
        "asker": (
            "Play the game of Twenty Questions. There are two players, an asker and an answerer. You are the asker. "
            "The answerer knows a secret word, a noun. Find it out by questions that can be answered by yes or no. "
            'When you are sure, say: "I know the word! It is ..." with the word. '
            "You have one guess: if it is right you win, if it is wrong you lose. "
            "You speak at most {max_turns} times, the guess included; after that you have lost."
        ),
        "answerer": (
            "Play the game of Twenty Questions. There are two players, an asker and an answerer. You are the answerer. "
            "The secret word is {word}. Answer every question about it by exactly one word, yes or no, and nothing else. "
            "You lose if you say anything else or do not tell the truth, and if the asker finds out the word; "
            "you win if the asker's guess is wrong, or has not come after {max_turns} questions."
        ),
    },
    opening="The game begins. You speak first.",
)


TIC_TAC_TOE = Prompts(
    system={
        role: (
            f"Play tic-tac-toe as {role}. The squares of the board are numbered 1 to 9, row by row. Whoever has three in a row wins. "
            "Answer with the number of a free square and nothing else: naming another one, or several, loses."
        )
        for role in ("x", "o")
    },
    opening="The game begins. You speak first.",
)


KUHN_POKER = Prompts(
    system={
        role: (
            f"Play Kuhn poker. You are the {role} player and hold the {{card}}. A king beats a queen, and a queen beats a jack. "
            'Each player has put in one chip. Say "check" or "bet"; once a chip has been bet, say "call" or "fold". '
            "At the end the higher card wins the pot. Anything else than one of these words, at its time, loses two chips."
        )
        for role in ("first", "second")
    },
    opening="The game begins. You speak first.",
)


_ARENA_PLAYER = (
    "Play the game that is described to you against another player, as well as you can. Whenever it is your turn, answer with your move "
    "alone, in the form that the rules ask for."
)


TEXTARENA = Prompts(system={"player_0": _ARENA_PLAYER, "player_1": _ARENA_PLAYER}, opening="The game begins. You speak first.")
"""Games of TextArena explain their rules themselves, in the first message."""


PROMPTS: Mapping[str, Prompts] = {"full": TABOO_PROMPTS, "brief": TABOO_BRIEF}
"""Prompts of Adversarial Taboo by the name that settings use."""


register_prompts("AdversarialTaboo", TABOO_PROMPTS)
register_prompts("AdversarialTaboo-DrawingOut", TABOO_PROMPTS)
register_prompts("TwentyQuestions", TWENTY_QUESTIONS)
register_prompts("TicTacToe", TIC_TAC_TOE)
register_prompts("KuhnPoker", KUHN_POKER)
register_prompts("textarena", TEXTARENA)


def load_prompts(name_or_path: str, roles: Iterable[str] = ()) -> Prompts:
    """Prompts by name, or from a JSON file {"system": {role: template}, "opening": text}. Raises ValueError
    with what is wrong.

    roles: of the game that will be played; a file must have a template for each.
    """
    if name_or_path in PROMPTS:
        return PROMPTS[name_or_path]
    path = Path(name_or_path)
    if not isfile(path):  # of pathlib's a name that is too long is an error
        raise ValueError(f"unknown prompts {brief(repr(name_or_path))}: neither a file nor one of {', '.join(PROMPTS)}")
    try:
        prompts = read_prompts(parse_json(read_text(path)))
        _check_roles(prompts.system.keys(), roles)
    except ValueError as error:
        shape = json.dumps(asdict(TABOO_BRIEF))
        raise ValueError(f"{path}: cannot read prompts ({brief(error)}); it must look like {shape}") from error
    return prompts


def read_prompts(data: Any) -> Prompts:
    """The prompts in a file's JSON. Raises ValueError for a value that is no text, for invisible characters,
    and for a template that names a fact that its role does not know."""
    system = data.get("system") if isinstance(data, dict) else None
    if not isinstance(system, dict):
        raise ValueError("an object is needed, with system, an object of templates by role, and opening, a text")
    for what, text in {**{f"the template of {role}": text for role, text in system.items()}, "the opening": data.get("opening")}.items():
        if not isinstance(text, str):
            raise ValueError(f"{what} must be a text, got {brief(repr(text), 60)}")
        if hidden := hidden_character(text):
            raise ValueError(f"{what} holds {hidden}, which cannot be seen; remove it")
    facts = _facts()
    for role, template in system.items():
        _check_template(role, template, facts.get(role))
    return Prompts(system, data["opening"])


def _facts() -> dict[str, set[str]]:
    """The facts that templates may name, by role: rules and private facts of all registered games."""
    facts: dict[str, set[str]] = {}
    for prompts in GAME_PROMPTS.values():
        for role, template in prompts.system.items():
            facts.setdefault(role, {"max_turns"}).update(name for _, name, _, _ in Formatter().parse(template) if name)
    for name, spec in GAMES.items():
        if name not in GAME_PROMPTS:
            game = spec.make()
            start = game.start(spec.example_tasks[0])
            for role in game.roles:
                seen = start.observe(role)
                facts.setdefault(role, set()).update(seen.rules, seen.private)
    return facts


def _check_roles(roles: Collection[str], wanted: Iterable[str]) -> None:
    """Raises ValueError for roles of no known game, and for a game of which only some roles are given."""
    games = [*(tuple(prompts.system) for prompts in GAME_PROMPTS.values()), *(tuple(spec.make().roles) for spec in GAMES.values())]
    known = dict.fromkeys(role for game in games for role in game)
    if not roles:
        raise ValueError(f"system holds no role; roles are {', '.join(known)}")
    if unknown := [role for role in roles if role not in known]:
        near = difflib.get_close_matches(unknown[0][:60], known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no game has the role {brief(repr(unknown[0]), 60)}; {hint}roles are {', '.join(known)}")
    whole = {role for game in games if set(game) <= set(roles) for role in game}
    needed = [*wanted, *(role for game in games if set(game) & set(roles) - whole for role in game)]
    if missing := [role for role in dict.fromkeys(needed) if role not in roles]:
        raise ValueError(f"a template is missing for {' and '.join(missing)}")


def _check_template(role: str, template: str, facts: Collection[str] | None) -> None:
    """Raises ValueError for a template that asks `str.format` for more than facts. facts: what the role
    knows; None: any name."""
    try:
        fields = [field for field in Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise ValueError(f"the template of {role} is none: {error} (a brace itself is written twice)") from error
    for _, name, width, conversion in fields:
        known = str(name).isidentifier() if facts is None else name in facts
        if not known or width or conversion:
            more = f"!{conversion}" * bool(conversion) + f":{width}" * bool(width)
            allowed = ", ".join(f"{{{fact}}}" for fact in sorted(facts or ("NAME",)))
            raise ValueError(f"the template of {role} holds {brief(repr(f'{{{name}{more}}}'), 60)}; it may hold {allowed}, nothing more")
