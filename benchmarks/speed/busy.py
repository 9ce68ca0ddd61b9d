"""What other programs on the same cores cost: whole commands beside busy processes, ours and SPAG's loop.

    python -m sparring.benchmarks.speed.busy
    python -m sparring.benchmarks.speed.busy --games 32 --spag-games 16 --runs 1 --loads 0 1
    python -m sparring.benchmarks.speed.busy --result busy.json    (stopped at any time, the same command goes on)

A busy process goes round in a loop and wants a core all the time. What is measured is a command from its start to
its end, with the five seconds that importing takes: `play` is games of the embedded model against itself, `train` a
run of one round with its measurements, and `spag_loop` games by the loop of benchmarks/speed/loops.py, with torch as
it comes. `play` and `train` run as the command line runs them, and `play` again under the spin counts of `policies`:
how often a thread that waits for another one looks before it sleeps. Runs are interleaved, and medians count.

The fair share: a scheduler treats runnable threads alike, and a quiet command keeps one busy on every core. Beside as
many busy processes as there are cores half is left, beside three times as many a quarter. What the quiet command took
is divided by it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from sparring.agents.engine.cores import VARIABLES
from sparring.selfplay.runtime.progress import Shown
from sparring.selfplay.storage.provenance import provenance

from ..command import command, say
from .generation import SpeedConfig, prepare
from .loops import LOOPS

BUSY = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(10**6):
        pass
"""
"""A busy process. It ends with whoever started it, too."""


@dataclass(frozen=True)
class BusyConfig:
    """What is measured."""

    games: int = 256
    """Games of `play`; `train` plays half as many."""
    policies: tuple[str, ...] = ("watched", "300000")
    """How waiting threads behave in `play`: "watched" (agents/engine/cores.py), or a fixed GOMP_SPINCOUNT; 300000 is that of
    GNU's OpenMP where nobody sets one."""
    spag_games: int = 32
    """Games by SPAG's loop, which takes several times as long for each."""
    loads: tuple[float, ...] = (0, 0.5, 1, 3)
    """Busy processes for each core, 0 first."""
    runs: int = 3
    """Interleaved runs."""
    seed: int = 0
    """Decides words and what is said."""
    json: bool = False
    """Print one JSON object."""
    result: Path | None = None
    """Also write the JSON here. Commands that have been measured are kept beside it, in FILE.part, until all are."""

    def __post_init__(self) -> None:
        if not self.loads or self.loads[0] != 0 or not all(a < b for a, b in zip(self.loads, self.loads[1:], strict=False)):
            raise ValueError(f"loads must begin with 0 and grow, got {' '.join(map(str, self.loads))}")
        if not self.policies or not all(policy == "watched" or policy.isdigit() for policy in self.policies):
            raise ValueError(f"policies must be watched or spin counts, got {' '.join(self.policies) or 'none'}")
        if min(self.games, self.spag_games) < 16 or self.games % 16 or self.runs < 1:
            raise ValueError("games must be a multiple of 16, spag_games at least 16, and runs at least 1")


@dataclass(frozen=True)
class Spent:
    """Seconds of one command: by the clock, and of all its threads and processes on cores."""

    wall: float
    cpu: float


def fair_share(load: float) -> float:
    """The share of the cores that equal treatment of all threads leaves a program with a thread for each, beside `load` busy processes for
    each.
    """
    return 1 / (1 + load)


def compared(runs: Mapping[float, Sequence[Spent]]) -> dict[str, dict[str, float]]:
    """By load: median seconds; wall as a multiple of the fair share's, cpu as one of the quiet command's. The first load is 0."""
    middle = {load: Spent(median(one.wall for one in some), median(one.cpu for one in some)) for load, some in runs.items()}
    quiet = middle[0]
    return {
        f"{load:g}": {
            "wall": one.wall,
            "cpu": one.cpu,
            "wall_to_fair": one.wall / (quiet.wall / fair_share(load)),
            "cpu_to_quiet": one.cpu / quiet.cpu,
        }
        for load, one in middle.items()
    }


@dataclass(frozen=True)
class Command:
    """What is run, and the GOMP_SPINCOUNT it runs under; None: the environment says nothing."""

    arguments: list[str]
    spin_count: str | None = None


def commands(config: BusyConfig, folder: Path) -> dict[str, Command]:
    """What is run, by name. folder: for what they write; new for every run."""
    ours = [sys.executable, "-m", "sparring.selfplay.cli"]
    seed = f"{config.seed}"
    mini = ["--player", "mini@imitation", "--opponent", "mini@imitation", "--device", "cpu"]
    small = ["--rounds", "1", "--games-per-round", f"{config.games // 2}", "--evaluation.games", "16", "--device", "cpu"]
    small += ["--evaluation.control", "False", "--evaluation.scripted", "False"]
    spag = f"from sparring.benchmarks.speed import busy; busy.by_spag({config.spag_games}, {config.seed})"
    play = [*ours, "play", *mini, "--games", f"{config.games}", "--show", "0", "--seed", seed]
    train = [*ours, "train", "--model", "mini@imitation", *small, "--seed", seed, "--out", str(folder / "run")]
    played = {f"play {policy}": Command(play, None if policy == "watched" else policy) for policy in config.policies}
    return {**played, "train": Command(train), "spag_loop": Command([sys.executable, "-c", spag])}


def by_spag(games: int, seed: int) -> None:
    """Plays so many games by SPAG's loop, all at once."""
    LOOPS["spag_loop"](prepare(SpeedConfig(seed=seed, device="cpu")), games, games)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that want a core each, while the block runs."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def spent(command: Command) -> Spent:
    """What a command takes. Raises ValueError with the end of what it said where it fails."""
    # Variables that say how threads wait would decide what is measured here.
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    if command.spin_count is not None:
        environment["GOMP_SPINCOUNT"] = command.spin_count
    with TemporaryDirectory() as folder, (Path(folder) / "said").open("w+", encoding="utf-8") as said:
        began = time.perf_counter()
        process = subprocess.Popen(command.arguments, env=environment, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise ValueError(f"{' '.join(command.arguments)} ended with status {process.returncode}: {said.read()[-1000:]}")
    return Spent(wall, usage.ru_utime + usage.ru_stime)


def measure(config: BusyConfig) -> dict[str, Any]:
    """All figures: by command and load medians and their ratios, and every run."""
    cores = len(os.sched_getaffinity(0))
    settings = json.loads(json.dumps({**vars(config), "result": None, "json": False}))
    part = config.result.with_name(config.result.name + ".part") if config.result else None
    measured = _measured(part, settings)
    names = list(commands(config, Path()))
    with Shown().phase("commands beside busy processes", config.runs * len(config.loads) * len(names), "commands") as advance:
        for number in range(config.runs):
            for load in config.loads:
                left = [name for name in names if (name, load, number) not in measured]
                advance(len(names) - len(left))
                with busy(round(load * cores) if left else 0), TemporaryDirectory() as folder:
                    seeded = commands(replace(config, seed=config.seed + number), Path(folder))
                    for name in left:
                        measured[name, load, number] = one = spent(seeded[name])
                        if part:
                            with part.open("a", encoding="utf-8") as file:
                                file.write(json.dumps([name, load, number, one.wall, one.cpu]) + "\n")
                        advance(1)
    runs = {name: {load: [measured[name, load, number] for number in range(config.runs)] for load in config.loads} for name in names}
    return {
        "schema": 2,
        "settings": settings,
        "commands": {name: compared(by_load) for name, by_load in runs.items()},
        "runs": {name: {f"{load:g}": [vars(one) for one in some] for load, some in by_load.items()} for name, by_load in runs.items()},
        "provenance": provenance(config.seed),
    }


def _measured(part: Path | None, settings: Mapping[str, Any]) -> dict[tuple[str, float, int], Spent]:
    """What was measured before, by command, load and run. Begins the file where there is none. Raises ValueError where its settings are
    others.
    """
    if part is None:
        return {}
    if not part.exists():
        part.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    first, *lines = [json.loads(line) for line in part.read_text(encoding="utf-8").splitlines()]
    if first != settings:
        raise ValueError(f"{part} was measured under other settings: remove it, or repeat the command it is of")
    return {(name, load, number): Spent(wall, cpu) for name, load, number, wall, cpu in lines}


def show(result: Mapping[str, Any]) -> None:
    print(f"{'':<14} {'busy per core':>13} {'wall s':>8} {'CPU s':>8} {'wall / fair share':>18} {'CPU / quiet':>12}")
    for name, by_load in result["commands"].items():
        for load, one in by_load.items():
            print(f"{name:<14} {load:>13} {one['wall']:8.1f} {one['cpu']:8.1f} {one['wall_to_fair']:18.2f} {one['cpu_to_quiet']:12.2f}")


def main(config: BusyConfig) -> None:
    say(measure(config), show, as_json=config.json, file=config.result)
    if config.result:
        config.result.with_name(config.result.name + ".part").unlink()


if __name__ == "__main__":
    command("speed.busy", BusyConfig, main, __doc__)
