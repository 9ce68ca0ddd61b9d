"""The command line of a benchmark: `python -m sparring.benchmarks.NAME [options]`."""

import sys
from collections.abc import Callable
from typing import TypeVar

from sparring.selfplay.cli_common import guarded, parse

T = TypeVar("T")


def command(name: str, kind: type[T], main: Callable[[T], None], description: str | None) -> None:
    """Runs a benchmark with settings of `kind` from the command line, and ends the process with an exit status as `sparring`."""
    program = f"python -m sparring.benchmarks.{name}"

    def run() -> int:
        main(parse(kind, program, None, description=description))
        return 0

    sys.exit(guarded(program, run))
