"""What tests of whole runs share: a run of seconds, who hears what it says, and who interrupts it."""

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sparring.selfplay.config.config import EvaluationConfig, LearnerConfig, TrainConfig
from sparring.selfplay.runtime.progress import Quiet

LEARNER = LearnerConfig(minibatch=8)
NO_EVALUATION = EvaluationConfig(games=0, control=False)


def small_run(model: str, out: Path, **changes) -> TrainConfig:
    made = TrainConfig(
        model=model,
        rounds=2,
        games_per_round=8,
        group_size=4,
        game_options={"max_turns": "2"},
        max_new_tokens=8,
        learner=LEARNER,
        evaluation=EvaluationConfig(games=2, control=False),
        out=out,
    )
    return replace(made, **changes)


def files(run: Path) -> dict[str, bytes]:
    """What must be equal in equal runs: everything but times, the event files and the place."""
    found = {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}
    return {name: data for name, data in found.items() if not name.startswith(("tensorboard", "timings", "config", "report"))}


class Heard(Quiet):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Interrupting(Quiet):
    """Presses Ctrl-C when a phase begins."""

    def __init__(self, title: str) -> None:
        self.title = title

    def phase(self, title: str, total: int, unit: str = "games"):
        if title == self.title:
            raise KeyboardInterrupt
        return super().phase(title, total, unit)


class Signalling(Heard):
    """Sends a signal once, after so many steps of a phase. later: steps of any phase since then."""

    def __init__(self, title: str, steps: int, number: int) -> None:
        super().__init__()
        self.title, self.steps, self.number, self.later = title, steps, number, 0

    @contextmanager
    def phase(self, title: str, total: int, unit: str = "games"):
        done = 0

        def advance(steps: int = 1, tokens: int = 0, occupancy: float | None = None) -> None:
            nonlocal done
            done += steps
            self.later += not self.number
            if title == self.title and done >= self.steps and self.number:
                number, self.number = self.number, 0
                os.kill(os.getpid(), number)

        yield advance
