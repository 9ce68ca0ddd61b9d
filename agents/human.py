"""A person at the terminal as a player."""

import random
from collections.abc import Callable

from sparring.envs.core import Observation
from sparring.envs.views import game_prompts, inset, one_line

from .simple import FunctionAgent


def show(observation: Observation) -> str:
    """What a person needs to see before speaking: the rules and what is secret at first, then what was last said."""
    lines = []
    if all(utterance.role != observation.role for utterance in observation.utterances):
        prompts = game_prompts(observation.game)
        private = {name: one_line(value) for name, value in observation.private.items()}
        secret = "".join(f" The secret {name} is: {value}." for name, value in private.items())
        own = f"You are the {observation.role}.{secret}"
        lines.append(prompts.render(observation._replace(private=private))[0].content if prompts else own)
    if observation.utterances and observation.utterances[-1].role != observation.role:
        last = observation.utterances[-1]
        lines.append(f"{last.role}: {inset(last.text)}")
    return "\n".join(lines)


def human(ask: Callable[[str], str] = input, tell: Callable[[str], None] = print) -> FunctionAgent:
    """A player that is asked for each utterance. The end of the input counts as saying nothing."""

    def speak(observation: Observation, rng: random.Random) -> str:
        text = show(observation)
        if text:
            tell(text)
        try:
            return ask(f"{observation.role} (you): ")
        except EOFError:
            return ""

    return FunctionAgent(speak, "human")
