"""Kills runs by SIGKILL at chosen points of every phase, resumes them, and compares what comes out with a run that nobody killed.

    python -m sparring.benchmarks.reliability.kill9 --points 20 --result benchmarks/results/kill9.json

A point is an event of a phase: a game that ends, an optimiser step, a call that changes the disk (fsync, rename, unlink, ...); the process
dies just before it. Runs are of several kinds (VARIANTS); every second one is killed once more while it resumes. Equal means equal bytes of
games, metrics, measurements, summary and every file of every checkpoint, optimisers included.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sparring.agents import rollout
from sparring.agents.core import derive_seed
from sparring.selfplay.config.config import LIMITS, AlarmsConfig, EvaluationConfig, LearnerConfig, SFTConfig, SFTMixConfig, TrainConfig
from sparring.selfplay.learner.learner import Learner
from sparring.selfplay.objectives.spag import NAMES as CORRECTIONS
from sparring.selfplay.run import collectors, loop, train
from sparring.selfplay.run.evaluations import Evaluator
from sparring.selfplay.storage import checkpoint
from sparring.selfplay.storage.folder import RunFolder, to_json, write_text
from sparring.selfplay.storage.provenance import provenance

from ..command import command


@dataclass(frozen=True)
class Kill9Config:
    """Where runs are killed."""

    points: int = 20
    """Runs, each killed at a point of its own."""
    model: str = "mini@imitation"
    """Who is trained."""
    seed: int = 0
    """Decides the points."""
    result: Path | None = None
    """Where the result goes as JSON; None prints it only."""

    def __post_init__(self) -> None:
        if self.points < 1:
            raise ValueError(f"points must be at least 1, got {self.points}")


PHASES: Mapping[str, tuple[Any, str]] = {
    "begin": (RunFolder, "create"),
    "control": (loop, "evaluate_control"),
    "sft": (loop, "run_sft"),
    "generation": (collectors, "games_of"),
    "update": (Learner, "update"),
    "save": (checkpoint, "save"),
    "prune": (checkpoint, "prune"),
    "go back": (loop.Loop, "_go_back"),
    "evaluate": (Evaluator, "evaluate"),
}
"""What runs while a phase does; phases within phases count as the inner one, and what is in none as "between"."""
EVENTS = (
    (rollout._Scheduler, "_end"),
    (Learner, "_step"),
    (torch, "save"),
    *((os, name) for name in ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")),
)


class Point(NamedTuple):
    """The process dies before the n-th event of a phase, counted from 0."""

    phase: str
    event: int


LEARNER = LearnerConfig(minibatch=4, schedule="cosine")
EVALUATION = EvaluationConfig(games=1, control=False, scripted=False)
EASILY_ALARMED = AlarmsConfig(
    action="rollback",
    limits=dict.fromkeys(LIMITS) | {"grad_norm": 1.5},
)
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"method": "rae"},
    "lora": {"method": "rae", "learner": replace(LEARNER, lora_rank=4)},
    "per-round": {
        "method": "spag",
        "method_options": {"corrections": ",".join(CORRECTIONS), "drop_reasons": "none"},
        "learner": replace(LEARNER, epochs=2, reference="behaviour", kl_form="reward"),
    },
    "pairs": {"method": "dpo"},
    "evaluated": {"evaluation": replace(EVALUATION, every=1, control=True)},
    "rollback": {"method": "rae", "learner": replace(LEARNER, minibatch=2), "alarms": EASILY_ALARMED},
}
"""What the runs of a kind are told beside what all are told. per-round: optimiser and schedule of a round's own, over two epochs;
evaluated: between rounds too, and with a control; rollback: goes back after alarms, some of them false."""


def settings(model: str, out: Path, variant: str = "plain") -> TrainConfig:
    """A run with everything in it that survives an interruption, of a few seconds."""
    given = TrainConfig(
        model=model,
        rounds=3,
        games_per_round=8,
        group_size=4,
        game_options={"max_turns": "2"},
        max_new_tokens=16,
        sft=SFTConfig(steps=4, minibatch=4, games=8),
        learner=LEARNER,
        sft_mix=SFTMixConfig(fraction=0.5),
        evaluation=EVALUATION,
        keep_checkpoints=1,
        out=out,
    )
    return replace(given, **VARIANTS[variant])


def digests(run: Path) -> dict[str, str]:
    """SHA-256 of what must be equal: everything but times, event files, and what was set aside."""
    left_out = ("tensorboard", "timings", "config", "report", "provenance")
    names = {str(p.relative_to(run)): p for p in run.rglob("*") if p.is_file()}
    return {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in sorted(names.items()) if not name.startswith(left_out)}


class _Watch:
    """Counts events by phase, and dies at one of them."""

    def __init__(self, at: Point | None) -> None:
        self.at = at
        self.seen: Counter[str] = Counter()
        self.phases = ["between"]
        for phase, (owner, name) in PHASES.items():
            setattr(owner, name, self._within(phase, getattr(owner, name)))
        for owner, name in EVENTS:
            setattr(owner, name, self._counted(getattr(owner, name)))

    def _within(self, phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            self.phases.append(phase)
            try:
                return call(*args, **options)
            finally:
                self.phases.pop()

        return run

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            phase = self.phases[-1]
            if self.at == (phase, self.seen[phase]) or (self.at is not None and self.at == ("any", self.seen.total())):
                os.kill(os.getpid(), signal.SIGKILL)
            self.seen[phase] += 1
            return call(*args, **options)

        return run


def _forked(work: Callable[[], None]) -> bool:
    """Does the work in a process of its own; whether it was killed. Raises RuntimeError where it failed otherwise."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a run ended with status {status}")
    return status != 0


def begin(config: TrainConfig, at: Point | None) -> dict[str, int] | None:
    """A run in a process of its own: how many events its phases had, None where it was killed at the point."""
    assert config.out is not None
    counts = config.out.with_name(f"{config.out.name}.json")

    def work() -> None:
        watch = _Watch(at)
        train.train(config)
        counts.write_text(json.dumps(watch.seen))

    return None if _forked(work) else json.loads(counts.read_text())


def go_on(config: TrainConfig, at: Point | None) -> bool:
    """Resumes a run, or begins it where it had not yet begun; whether it was killed."""

    def work() -> None:
        _Watch(at)
        assert config.out is not None
        if (config.out / "config.yaml").is_file():
            train.resume(config.out)
        else:
            train.train(config)

    return _forked(work)


def survives(config: TrainConfig, wanted: Mapping[str, str], at: Point, again: Point | None = None) -> dict[str, Any]:
    """A run that is killed at a point, and while it resumes at another one, then resumed. wanted: the digests of a whole run. Raises
    RuntimeError where the run was not killed."""
    assert config.out is not None
    if begin(config, at) is not None:
        raise RuntimeError(f"the run has no point {at}")
    twice = again is not None and go_on(config, again)
    if twice or again is None:
        go_on(config, None)
    found = digests(config.out)
    different = sorted(name for name in {**wanted, **found} if wanted.get(name) != found.get(name))
    return {"phase": at.phase, "event": at.event, "killed_again": twice, "equal": not different, "different": different[:5]}


def points(events: Mapping[str, Mapping[str, int]], count: int, seed: int) -> list[tuple[str, Point, Point | None]]:
    """Phases in turn, each of the next variant that has it, an event of it drawn by the seed; for every second one a second point while it
    resumes. events: of the phases of every variant, how many."""
    phases = sorted({phase for of in events.values() for phase in of})
    drawn: list[tuple[str, Point, Point | None]] = []
    for i in range(count):
        rng = random.Random(derive_seed(seed, i))
        phase = phases[i % len(phases)]
        having = [variant for variant, of in events.items() if of.get(phase)]
        variant = having[i % len(having)]
        again = Point("any", rng.randrange(60)) if i % 2 else None
        drawn.append((variant, Point(phase, rng.randrange(events[variant][phase])), again))
    return drawn


def study(folder: Path, model: str, chosen: Sequence[tuple[str, str, float]] | int, seed: int = 0) -> dict[str, Any]:
    """Kills and resumes runs in a folder. chosen: variants and phases, with the share of their events that pass, or how many points are
    drawn."""
    variants = VARIANTS if isinstance(chosen, int) else dict.fromkeys(variant for variant, _, _ in chosen)
    events: dict[str, dict[str, int]] = {}
    wanted: dict[str, dict[str, str]] = {}
    for variant in variants:
        whole = folder / variant
        found = begin(settings(model, whole, variant), None)
        assert found is not None
        events[variant], wanted[variant] = found, digests(whole)
    if isinstance(chosen, int):
        drawn = points(events, chosen, seed)
    else:
        drawn = [(variant, Point(phase, int(share * events[variant][phase])), None) for variant, phase, share in chosen]
    results = []
    for number, (variant, at, again) in enumerate(drawn):
        run = folder / f"killed-{number}"
        results.append({"variant": variant, **survives(settings(model, run, variant), wanted[variant], at, again)})
        shutil.rmtree(run)
    compared = {variant: len(files) for variant, files in wanted.items()}
    return {"events": events, "files_compared": compared, "points": results, "equal": sum(r["equal"] for r in results)}


def main(config: Kill9Config) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = study(Path(folder), config.model, config.points, config.seed)
    found |= {"provenance": provenance(config.seed, model=config.model)}
    text = to_json(found)
    if config.result is not None:
        write_text(config.result, text)
    print(text, end="")


if __name__ == "__main__":
    command("reliability.kill9", Kill9Config, main, __doc__)
