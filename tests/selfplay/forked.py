"""What tests of whole runs share: processes forked from one that has imported everything already (an import takes seconds), and ears."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparring.selfplay.progress import Quiet

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["sparring.selfplay.cli", "sparring.selfplay.train", "sparring.selfplay.report", "sparring.benchmarks.kill9"]
)


class Heard(Quiet):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def start(said: Path, work: Callable[..., Any], *arguments: Any, **environment: str) -> Any:
    """A process that does some work, with its output in a file."""
    process = CONTEXT.Process(target=_run, args=(str(said), environment, work, *arguments))
    process.start()
    return process


def _run(said: str, environment: dict[str, str], work: Callable[..., Any], *arguments: Any) -> None:
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.update(environment)
    sys.exit(work(*arguments))
