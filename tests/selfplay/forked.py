"""Processes forked from one that has imported everything already (an import takes seconds), for tests of whole runs."""

import inspect
import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparring.selfplay.cli.main import main

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "sparring.selfplay.cli.main",
        "sparring.selfplay.run.train",
        "sparring.selfplay.report.report",
        "sparring.benchmarks.reliability.kill9",
    ]
)


def start(said: Path, work: Callable[..., Any], *arguments: Any, **environment: str) -> Any:
    """A process that does some work, with its output in a file. work: a function of a module's, named by its file, as the modules of tests
    cannot be imported by their names everywhere."""
    process = CONTEXT.Process(target=_run, args=(str(said), environment, inspect.getfile(work), work.__name__, *arguments))
    process.start()
    return process


def command(arguments: list[str]) -> int:
    """`sparring` with these arguments."""
    return main(arguments)


def _run(said: str, environment: dict[str, str], file: str, work: str, *arguments: Any) -> None:
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.update(environment)
    sys.exit(runpy.run_path(file)[work](*arguments))
