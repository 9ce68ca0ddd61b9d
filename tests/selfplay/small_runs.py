"""What tests of whole runs share: a run of seconds, who hears what it says, and who interrupts it."""

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sparring.selfplay.config import EvaluationConfig, TrainConfig
from sparring.selfplay.learner import LearnerConfig
from sparring.selfplay.progress import Quiet

LEARNER = LearnerConfig(minibatch=8, replay_per_minibatch=2)
NOTHING_MEASURED = EvaluationConfig(games=0, control=False)


def small_run(model: str, out: Path, **changes) -> TrainConfig:
    made = TrainConfig(
        model=model,
        rounds=2,
        games_per_round=8,
        group_size=4,
        max_turns=2,
        max_new_tokens=8,
        replay_pool=8,
        learner=LEARNER,
        evaluation=EvaluationConfig(games=2, control=False),
        out=out,
    )
    return replace(made, **changes)


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
    """Sends a signal once, after so many steps of a phase."""

    def __init__(self, title: str, steps: int, number: int) -> None:
        super().__init__()
        self.title, self.steps, self.number = title, steps, number

    @contextmanager
    def phase(self, title: str, total: int, unit: str = "games"):
        done = 0

        def advance(steps: int = 1, tokens: int = 0, occupancy: float | None = None) -> None:
            nonlocal done
            done += steps
            if title == self.title and done >= self.steps and self.number:
                os.kill(os.getpid(), self.number)
                self.number = 0

        yield advance
