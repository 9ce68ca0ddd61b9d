"""The speed of the environment beside TextArena's Taboo, judges included, no models (extra `textarena`).

    python -m sparring.benchmarks.textarena_speed --runs 9 --json

Steps per second of CPU time: one step is an utterance judged and the next player's observation made. Both say the same sentences, which
nobody wins by, in games of equal length; runs are interleaved, and what counts is the ratio of medians.

- gymnasium: ours as `gymnasium.make` gives it, both roles played in turn, with the chat so far as messages and as text
- rules: ours without a surface, states and observations alone
- textarena: theirs in the loop of its documentation, `make`, `reset`, `step` to the end, `close`; its wrapper never forgets, so an
  environment that is reset instead of made anew shows players the games before
- textarena_kept: theirs with its data loaded once and only the wrapper made anew, the fastest way to play games apart
- textarena_raw: the same without a wrapper: lists of messages, no text
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle
from statistics import median
from typing import Any

import gymnasium
import textarena

from sparring.envs import games as _games  # noqa: F401  registers the games
from sparring.envs.core import State, Task, make_game
from sparring.selfplay.run_folder import provenance

from .command import command

SAID = (
    "It is often yellow, and it tastes sour.",
    "Is it [something to eat]?",
    "You find it in the kitchen, and people like it in their tea.",
    "Then is it [a kind of fruit]?",
)
"""Clues without a target, and guesses in the form that TextArena's Taboo asks for, wrong in both games."""
THEIR_TURNS = 48
"""Utterances of one game of Taboo-v0 in which nobody guesses right."""


@dataclass(frozen=True)
class TextArenaSpeedConfig:
    """What is measured."""

    games: int = 200
    """Games of one run."""
    runs: int = 9
    """Interleaved runs of each, after one of each that is not counted."""
    utterances: tuple[int, ...] = (10, THEIR_TURNS)
    """Lengths of the games: ten is Adversarial Taboo's own, 48 that of TextArena's Taboo."""
    seed: int = 0
    """Decides the words."""
    json: bool = False
    """Print one JSON object."""


Loop = Callable[[int, int, int], int]
"""Plays games of a length from a seed on and returns the steps made."""


@lru_cache
def _environment(length: int) -> Any:
    return gymnasium.make("sparring.envs:sparring/AdversarialTaboo-v0", role="both", max_turns=length // 2)


def through_gymnasium(games: int, length: int, seed: int) -> int:
    env = _environment(length)
    steps = 0
    for game in range(games):
        env.reset(seed=seed + game)
        ended = False
        for text in cycle(SAID):
            _, _, ended, _, _ = env.step(text)
            steps += 1
            if ended:
                break
    return steps


def through_rules(games: int, length: int, seed: int) -> int:
    rules = make_game("AdversarialTaboo", max_turns=length // 2)
    steps = 0
    for game in range(games):
        state: State = rules.start(Task("speed", "stone", "stone", seed + game))
        for text in cycle(SAID):
            role = state.to_act
            if role is None:
                break
            state.observe(role)
            state = state.apply(text)
            steps += 1
    return steps


def through_textarena(make: Callable[[], Any], games: int, length: int, seed: int) -> int:
    steps = 0
    for game in range(games):
        env = make()
        env.reset(num_players=4, seed=seed + game)
        for _, text in zip(range(length), cycle(SAID), strict=False):
            env.get_observation()
            done, _ = env.step(action=text)
            steps += 1
            if done:
                break
        env.close()
    return steps


def loops() -> dict[str, Loop]:
    kept = textarena.make("Taboo-v0-raw")
    return {
        "gymnasium": through_gymnasium,
        "rules": through_rules,
        "textarena": lambda *args: through_textarena(lambda: textarena.make("Taboo-v0"), *args),
        "textarena_kept": lambda *args: through_textarena(lambda: textarena.wrappers.LLMObservationWrapper(kept), *args),
        "textarena_raw": lambda *args: through_textarena(lambda: kept, *args),
    }


def measure(config: TextArenaSpeedConfig) -> dict[str, Any]:
    """By length of the games: every run's steps per second, medians, and the ratios of ours to theirs.

    Raises ValueError for numbers below 1 and for games of an odd length.
    """
    if config.games < 1 or config.runs < 1 or any(length < 2 or length % 2 for length in config.utterances):
        raise ValueError(f"games and runs must be at least 1, lengths even and at least 2; got {config}")
    lengths = {str(length): _measure(config, length) for length in config.utterances}
    libraries = {"textarena": textarena.__version__}
    return {"lengths": lengths, "provenance": provenance(config.seed, libraries=libraries, cores=os.cpu_count())}


def _measure(config: TextArenaSpeedConfig, length: int) -> dict[str, Any]:
    every = loops()
    found: dict[str, list[float]] = {name: [] for name in every}
    for number in range(config.runs + 1):
        for name, loop in every.items():
            began = time.process_time()
            steps = loop(config.games, length, config.seed + number * config.games)
            if number:
                found[name].append(steps / (time.process_time() - began))
    rates = {name: median(runs) for name, runs in found.items()}
    pairs = [("gymnasium", "textarena"), ("gymnasium", "textarena_kept"), ("rules", "textarena_raw")]
    return {
        "steps_per_second": rates,
        "ratios": {f"{ours} / {theirs}": rates[ours] / rates[theirs] for ours, theirs in pairs},
        "runs": found,
    }


def show(result: dict[str, Any]) -> Sequence[str]:
    """The figures in lines."""
    lines = []
    for length, of in result["lengths"].items():
        lines.append(f"games of {length} utterances")
        lines += [f"  {name:<15} {rate:9,.0f} steps/s" for name, rate in of["steps_per_second"].items()]
        lines += [f"  {pair}: {ratio:.2f}" for pair, ratio in of["ratios"].items()]
    return lines


def main(config: TextArenaSpeedConfig) -> None:
    result = measure(config)
    print(json.dumps(result, sort_keys=True) if config.json else "\n".join(show(result)))


if __name__ == "__main__":
    command("textarena_speed", TextArenaSpeedConfig, main, __doc__)
