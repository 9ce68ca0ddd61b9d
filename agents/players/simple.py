"""Players without a model: for tests, baselines and examples."""

import random
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from sparring.envs.core import HOST, Game, Observation

from ..core import Player, Reply, Request, Segment, derive_seed

Speak = Callable[[Observation, random.Random], str]
"""What to say, from what the role may see and random numbers of this turn."""


@dataclass(eq=False)
class _SimplePlayer:
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

    def player(self, game: Game, role: str, key: str, seed: int) -> Player:
        return _SimplePlayer(self.speak, seed)


MOVE = re.compile(r"'(\[[^\[\]\n]+\])'")
"""A move as TextArena's games offer it: '[4]'."""


def offered_moves(observation: Observation) -> list[str]:
    """The moves that the game's last utterance offers, on its last line with moves; empty in games without
    such offers."""
    utterances = observation.utterances
    lines = utterances[-1].text.splitlines() if utterances and utterances[-1].role == HOST else []
    return next((moves for line in reversed(lines) if (moves := MOVE.findall(line))), [])


class RandomAgent(FunctionAgent):
    """Makes a random move where the game offers moves; else says between one and `longest` random words of a
    list."""

    def __init__(self, words: Sequence[str], longest: int = 6, name: str = "random") -> None:
        if not words:
            raise ValueError("a random player needs at least one word")

        def speak(observation: Observation, rng: random.Random) -> str:
            moves = offered_moves(observation)
            return rng.choice(moves) if moves else " ".join(rng.choices(words, k=rng.randint(1, longest)))

        super().__init__(speak, name)


class SilentAgent(FunctionAgent):
    """Never says anything."""

    def __init__(self, name: str = "silent") -> None:
        super().__init__(lambda _observation, _rng: "", name)
