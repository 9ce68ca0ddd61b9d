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
    """The person has left the game, by /quit or by ending the input of a terminal (Ctrl-D)."""


def rules(observation: Observation) -> str:
    """What a person sees before the first utterance: the rules of the game and the role's secret."""
    prompts = game_prompts(observation.game)
    private = {name: one_line(value) for name, value in observation.private.items()}
    secret = "".join(f" The secret {name} is: {value}." for name, value in private.items())
    plain = f"You are the {observation.role}.{secret}"
    return prompts.render(observation._replace(private=private))[0].content if prompts else plain


def show(observation: Observation) -> str:
    """What a person sees before speaking: the rules at first, then the last utterance."""
    utterances = observation.utterances
    lines = [] if any(utterance.role == observation.role for utterance in utterances) else [rules(observation)]
    if utterances and utterances[-1].role != observation.role:
        lines.append(f"{utterances[-1].role}: {inset(utterances[-1].text)}")
    return "\n".join(lines)


def ask_line(prompt: str) -> str:
    """As `input`; at a terminal with line editing and history."""
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
    """A player whose utterances are typed by a person. /help and /quit are commands; /quit raises `Left`. A
    silent line is queried once; the end of an input that is no terminal counts as silence."""

    def speak(observation: Observation, rng: random.Random) -> str:
        text = show(observation)
        if text:
            tell(text)
        prompt = usual = f"{observation.role} (you): "
        while True:
            try:
                line = ask(prompt)
            except EOFError:
                return ""
            command = line.strip().lower()
            if command == "/quit":
                raise Left
            if command == "/help":
                talk = [f"{u.role}: {inset(u.text)}" for u in observation.utterances]
                tell("\n".join([HELP, rules(observation), *talk]))
            elif prompt == SILENT or not is_silent(line):
                return line
            else:
                prompt = SILENT
                continue
            prompt = usual

    return FunctionAgent(speak, "human")
