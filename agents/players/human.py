"""A person at the terminal as a player."""

import random
import sys
from collections.abc import Callable
from contextlib import suppress

from sparring.envs.core import Observation
from sparring.envs.judge.normalise import is_silent
from sparring.envs.views import game_prompts, inset, one_line

from .simple import FunctionAgent

HELP = "What you type is what you say. /help shows the rules and the talk so far, /quit or Ctrl-D leaves."
SILENT = "Nothing that counts as speech; who says nothing loses. Enter again to say nothing, or type something: "


class Left(Exception):  # noqa: N818  no error: the person has had enough
    """The person has left the game, by /quit or by ending the input at a terminal (Ctrl-D)."""


def rules(observation: Observation) -> str:
    """What a person needs to see before the first word: the rules of the game and what is secret."""
    prompts = game_prompts(observation.game)
    private = {name: one_line(value) for name, value in observation.private.items()}
    secret = "".join(f" The secret {name} is: {value}." for name, value in private.items())
    plain = f"You are the {observation.role}.{secret}"
    return prompts.render(observation._replace(private=private))[0].content if prompts else plain


def show(observation: Observation) -> str:
    """What a person needs to see before speaking: the rules at first, then what was last said."""
    said = observation.utterances
    lines = [] if any(utterance.role == observation.role for utterance in said) else [rules(observation)]
    if said and said[-1].role != observation.role:
        lines.append(f"{said[-1].role}: {inset(said[-1].text)}")
    return "\n".join(lines)


def ask_line(prompt: str) -> str:
    """As `input`; at a terminal a line can be edited and earlier ones come back by the arrow keys."""
    if sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401  `input` uses it once it is imported
    try:
        return input(prompt)
    except EOFError:
        if sys.stdin.isatty():
            print(file=sys.stderr)  # what is printed next is not on the prompt's line
            raise Left from None
        raise


def human(ask: Callable[[str], str] = ask_line, tell: Callable[[str], None] = print) -> FunctionAgent:
    """A player that is asked for each utterance. /help and /quit are no utterances; `Left` is raised for the
    latter. A line that says nothing is asked about once; the end of an input that is no terminal counts as
    saying nothing."""

    def speak(observation: Observation, rng: random.Random) -> str:
        text = show(observation)
        if text:
            tell(text)
        prompt = usual = f"{observation.role} (you): "
        while True:
            try:
                said = ask(prompt)
            except EOFError:
                return ""
            command = said.strip().lower()
            if command == "/quit":
                raise Left
            if command == "/help":
                talk = [f"{u.role}: {inset(u.text)}" for u in observation.utterances]
                tell("\n".join([HELP, rules(observation), *talk]))
            elif prompt == SILENT or not is_silent(said):
                return said
            else:
                prompt = SILENT
                continue
            prompt = usual

    return FunctionAgent(speak, "human")
