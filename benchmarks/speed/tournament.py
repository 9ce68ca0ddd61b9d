"""How long a tournament takes beside single `play` calls about the same games, and how long ratings take.

    python -m sparring.benchmarks.speed.tournament --out benchmarks/results/tournament.json

Five agents of one size play every other in both roles: the models of five rounds of a run, or, without one, five mixtures of mini and
mini@imitation. Each way is the command in processes of its own; half of the `play` calls come before the tournament and half after it.
Ratings are of simulated games of twenty players.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from sparring.agents.names import checkpoint_rounds, model_location
from sparring.selfplay.evaluation.ratings import rate

from ..command import command, say
from ..reliability.rating_coverage import ROLES, simulated

AGENTS = 5


@dataclass(frozen=True)
class TournamentSpeed:
    """What is timed."""

    run: Path | None = None
    """A run whose first five kept rounds play; None: mixtures of mini and mini@imitation."""
    games: int = 200
    """Games per ordered pair."""
    calls: int = 0
    """Time so many of the `play` calls alone, spread over the pairs, and scale their time up to all; 0: all."""
    players: int = 20
    """Players who are rated."""
    rated: int = 264
    """Simulated games per ordered pair of them."""
    json: bool = False
    """Print one JSON object instead."""
    out: Path | None = None
    """A file for the result."""


def main(options: TournamentSpeed) -> None:
    with tempfile.TemporaryDirectory() as folder:
        agents = rounds(options.run) if options.run is not None else mixtures(Path(folder))
        pairs = list(permutations(agents, 2))
        common = ["--games", str(options.games), "--temperature", "0.5"]
        calls = [["play", "--player", one, "--role", ROLES[0], "--opponent", other, "--show", "0", *common] for one, other in pairs]
        calls = calls[:: len(pairs) // options.calls][: options.calls] if options.calls else calls
        half = len(calls) // 2
        before = [timed(call) for call in calls[:half]]
        whole = timed(["tournament", *agents, *common, "--out", str(Path(folder) / "tournament")])
        single = [len(pairs) / len(calls) * sum(times) for times in zip(*before, *(timed(call) for call in calls[half:]), strict=True)]
    began = time.process_time()
    strengths = np.linspace(-1, 1, options.players)
    games = simulated(strengths.tolist(), strengths[::-1].tolist(), options.rated, 85, 0, alike=0.5)
    simulation, began = time.process_time() - began, time.process_time()
    rate(games, ROLES)
    result = {
        "settings": {"agents": AGENTS, "games_per_pair": options.games, "pairs": len(pairs), "run": options.run is not None},
        "tournament": {"wall": whole[0], "cpu": whole[1]},
        "play": {"wall": single[0], "cpu": single[1], "calls": len(pairs), "timed": len(calls)},
        "ratio": {"wall": whole[0] / single[0], "cpu": whole[1] / single[1]},
        "ratings": {"games": len(games), "players": options.players, "cpu": time.process_time() - began, "simulation_cpu": simulation},
    }
    say(result, show, as_json=options.json, file=options.out)


def rounds(run: Path) -> list[str]:
    """The agents of a run. Raises ValueError where it keeps too few rounds."""
    kept = checkpoint_rounds(run)
    if len(kept) < AGENTS:
        raise ValueError(f"{run} keeps {len(kept)} rounds; {AGENTS} are needed (--keep-checkpoints)")
    return [f"{run}@{number}" for number in kept[:AGENTS]]


def mixtures(folder: Path) -> list[str]:
    """Model folders between mini and mini@imitation."""
    base, sft = (Path(model_location(name)) for name in ("mini", "mini@imitation"))
    one, other = (load_file(place / "model.safetensors") for place in (base, sft))
    for number in range(AGENTS):
        share = number / (AGENTS - 1)
        place = copytree(sft, folder / f"mixture-{number}")
        mixed = {name: ((1 - share) * one[name].float() + share * other[name].float()).contiguous() for name in other}
        save_file(mixed, place / "model.safetensors", metadata={"format": "pt"})
    return [str(folder / f"mixture-{number}") for number in range(AGENTS)]


def timed(arguments: list[str]) -> tuple[float, float]:
    """Seconds of wall time and of CPU time that a command takes. Raises RuntimeError where it fails."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "sparring.selfplay.cli", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"sparring {' '.join(arguments)}: {done.stderr}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu


def show(result: dict[str, Any]) -> None:
    one, other, ratings = result["tournament"], result["play"], result["ratings"]
    print(f"tournament: {one['wall']:.1f} s, {one['cpu']:.1f} s of CPU")
    print(f"{other['calls']} play calls: {other['wall']:.1f} s, {other['cpu']:.1f} s of CPU")
    print(f"ratio: {result['ratio']['wall']:.2f} of the wall time, {result['ratio']['cpu']:.2f} of the CPU time")
    print(f"ratings of {ratings['games']:,} games of {ratings['players']} players: {ratings['cpu']:.1f} s of CPU")


if __name__ == "__main__":
    command("speed.tournament", TournamentSpeed, main, __doc__)
