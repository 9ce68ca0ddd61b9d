"""The command line of a benchmark: `python -m sparring.benchmarks.NAME [options]`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sparring.agents.engine.cores import share_cores
from sparring.selfplay.cli.common import guarded
from sparring.selfplay.cli.options import parse
from sparring.selfplay.storage.folder import to_json, write_text

T = TypeVar("T")


def command(name: str, kind: type[T], main: Callable[[T], None], description: str | None) -> None:
    """Runs a benchmark with settings of `kind` from the command line, and ends the process with an exit status as `sparring`."""
    program = f"python -m sparring.benchmarks.{name}"

    def run() -> int:
        main(parse(kind, program, None, description=description))
        return 0

    share_cores()
    sys.exit(guarded(program, run))


def say(result: dict[str, Any], show: Callable[[dict[str, Any]], None], *, as_json: bool, file: Path | None) -> None:
    """Prints a result, as one JSON object or for people, and writes it to a file if one is given."""
    if file is not None:
        write_text(file, to_json(result))
    if as_json:
        print(json.dumps(result, sort_keys=True))
    else:
        show(result)
