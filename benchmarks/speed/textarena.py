"""The speed of the environment beside TextArena's Taboo, judges included, no models (extra `textarena`).

    python -m sparring.benchmarks.speed.textarena --runs 9 --json

Steps per second of CPU time: one step is an utterance judged and the next player's observation made. Both say the same sentences, which
nobody wins by, in games of equal length about words drawn anew, and are seeded once, as Gymnasium asks for. Runs are interleaved, and what
counts is the ratio of medians.

- gymnasium: ours as `gymnasium.make` gives it, both roles played in turn, with the chat so far as messages and as text
- vector: 64 games at once, as `gymnasium.make_vec` gives them
- rules: ours without a surface, states and observations alone
- textarena: theirs in the loop of its documentation, `make`, `reset`, `step` to the end, `close`; its wrapper never forgets, so an
  environment that is reset instead of made anew shows players the games before
- textarena_kept: theirs with its data loaded once and only the wrapper made anew, the fastest way to play games apart
- textarena_batch: 64 of these, step by step, as where a model answers in batches
- textarena_raw: textarena_kept without a wrapper: lists of messages, no text
"""

import gc
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle
from statistics import median
from typing import Any

import gymnasium
import textarena

from sparring.envs.core import State, Task, make_game
from sparring.envs.games import registered as _games  # noqa: F401  registers the games
from sparring.envs.words.lists import word_list
from sparring.selfplay.storage.provenance import provenance

from ..command import command

ENVIRONMENT = "sparring.envs:sparring/AdversarialTaboo-v0"
SAID = (
    "It is often yellow, and it tastes sour.",
    "Is it [something to eat]?",
    "You find it in the kitchen, and people like it in their drinks.",
    "Then is it [a kind of fruit]?",
)
"""Clues without a target, and guesses in the form that TextArena's Taboo asks for, wrong in both games."""
THEIR_TURNS = 48
"""Utterances of one game of Taboo-v0 in which nobody guesses right."""
AT_ONCE = 64
"""Games of a vector environment."""
PAIRS = (("gymnasium", "textarena"), ("gymnasium", "textarena_kept"), ("vector", "textarena_batch"), ("rules", "textarena_raw"))
"""Loops of one kind, ours and theirs."""


@dataclass(frozen=True)
class TextArenaSpeedConfig:
    """What is measured."""

    games: int = 10 * AT_ONCE
    """Games of one run; a multiple of 64 where it is more."""
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
    return gymnasium.make(ENVIRONMENT, role="both", max_turns=length // 2)


def through_gymnasium(games: int, length: int, seed: int) -> int:
    env = _environment(length)
    steps = 0
    for game in range(games):
        env.reset(seed=None if game else seed)
        ended = False
        for text in cycle(SAID):
            _, _, ended, _, _ = env.step(text)
            steps += 1
            if ended:
                break
    return steps


@lru_cache
def _environments(games: int, length: int) -> Any:
    return gymnasium.make_vec(ENVIRONMENT, num_envs=games, role="both", max_turns=length // 2)


def through_vector(games: int, length: int, seed: int) -> int:
    at_once = min(games, AT_ONCE)
    envs = _environments(at_once, length)
    steps = 0
    for batch in range(games // at_once):
        if batch:
            envs.step([""] * at_once)  # ended games begin anew, and hear nothing
        else:
            envs.reset(seed=seed)
        for _, text in zip(range(length), cycle(SAID), strict=False):
            envs.step([text] * at_once)
            steps += at_once
    return steps


def through_rules(games: int, length: int, seed: int) -> int:
    rules = make_game("AdversarialTaboo", max_turns=length // 2)
    words, draws = word_list("everyday"), random.Random(seed)
    steps = 0
    for game in range(games):
        word = draws.choice(words)
        state: State = rules.start(Task("speed", word, word, game))
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
        env.reset(num_players=4, seed=None if game else seed)
        for _, text in zip(range(length), cycle(SAID), strict=False):
            env.get_observation()
            done, _ = env.step(action=text)
            steps += 1
            if done:
                break
        env.close()
    return steps


@lru_cache
def _kept(number: int) -> Any:
    """One of their environments, its data loaded."""
    return textarena.make("Taboo-v0-raw")


_as_text = textarena.wrappers.LLMObservationWrapper


def through_textarena_batch(games: int, length: int, seed: int) -> int:
    at_once = min(games, AT_ONCE)
    steps = 0
    for batch in range(games // at_once):
        envs = [_as_text(_kept(number)) for number in range(at_once)]
        for number, env in enumerate(envs):
            env.reset(num_players=4, seed=None if batch or number else seed)
        for _, text in zip(range(length), cycle(SAID), strict=False):
            for env in envs:
                env.get_observation()
            for env in envs:
                env.step(action=text)
            steps += at_once
        for env in envs:
            env.close()
    return steps


def loops() -> dict[str, Loop]:
    return {
        "gymnasium": through_gymnasium,
        "vector": through_vector,
        "rules": through_rules,
        "textarena": lambda *args: through_textarena(lambda: textarena.make("Taboo-v0"), *args),
        "textarena_kept": lambda *args: through_textarena(lambda: _as_text(_kept(0)), *args),
        "textarena_batch": through_textarena_batch,
        "textarena_raw": lambda *args: through_textarena(lambda: _kept(0), *args),
    }


def measure(config: TextArenaSpeedConfig) -> dict[str, Any]:
    """By length of the games: every run's steps per second, medians, and the ratios of ours to theirs.

    Raises ValueError for numbers below 1, for games of an odd length, and for games that fill no vector environment.
    """
    if config.games < 1 or config.runs < 1 or any(length < 2 or length % 2 for length in config.utterances):
        raise ValueError(f"games and runs must be at least 1, lengths even and at least 2; got {config}")
    if config.games > AT_ONCE and config.games % AT_ONCE:
        raise ValueError(f"games must be at most {AT_ONCE} or a multiple of it, which are played at once; got {config.games}")
    lengths = {str(length): _measure(config, length) for length in config.utterances}
    libraries = {"textarena": textarena.__version__}
    return {"lengths": lengths, "provenance": provenance(config.seed, libraries=libraries, cores=os.cpu_count())}


def _measure(config: TextArenaSpeedConfig, length: int) -> dict[str, Any]:
    every = loops()
    found: dict[str, list[float]] = {name: [] for name in every}
    for number in range(config.runs + 1):
        for name, loop in every.items():
            gc.collect()
            gc.freeze()  # a loop pays for the garbage of its own, not for what was there before
            began = time.process_time()
            steps = loop(config.games, length, config.seed + number * config.games)
            if number:
                found[name].append(steps / (time.process_time() - began))
    gc.unfreeze()
    rates = {name: median(runs) for name, runs in found.items()}
    return {
        "steps_per_second": rates,
        "ratios": {f"{ours} / {theirs}": rates[ours] / rates[theirs] for ours, theirs in PAIRS},
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
    command("speed.textarena", TextArenaSpeedConfig, main, __doc__)
