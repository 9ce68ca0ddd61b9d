"""Players without a model: for tests, baselines and examples."""

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from sparring.envs.core import Game, Observation

from .core import Reply, Request, Seat, Segment, derive_seed

Speak = Callable[[Observation, random.Random], str]
"""What to say, given what the role may see and the turn's own random numbers."""


@dataclass(eq=False)
class _SimpleSeat:
    speak: Speak
    seed: int

    def act(self, observation: Observation) -> Generator[Request, Reply, Reply]:
        return Reply(self.speak(observation, random.Random(derive_seed(self.seed, len(observation.utterances)))))
        yield  # a coroutine that never asks

    def close(self) -> tuple[Segment, ...]:
        return ()


class FunctionAgent:
    """Says what a plain function returns."""

    weight_version: str | None = None

    def __init__(self, speak: Speak, name: str = "function") -> None:
        self.speak = speak
        self.name = name

    def seat(self, game: Game, role: str, key: str, seed: int) -> Seat:
        return _SimpleSeat(self.speak, seed)


class RandomAgent(FunctionAgent):
    """Says between one and `longest` words of a list, drawn at random."""

    def __init__(self, words: Sequence[str], longest: int = 6, name: str = "random") -> None:
        if not words:
            raise ValueError("a random player needs at least one word")
        super().__init__(lambda _, rng: " ".join(rng.choices(words, k=rng.randint(1, longest))), name)


class SilentAgent(FunctionAgent):
    """Never says anything."""

    def __init__(self, name: str = "silent") -> None:
        super().__init__(lambda _observation, _rng: "", name)
