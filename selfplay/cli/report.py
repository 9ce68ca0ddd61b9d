"""sparring report: the page of a run or of a tournament."""

import sys
from dataclasses import dataclass
from pathlib import Path

from .common import print_json
from .options import parse, positional


@dataclass(frozen=True)
class Report:
    """Writes the page of a run or of a tournament, report.html in its folder, and says where it is.

    It is one file that needs no network: results, learning curves, and the games, to be searched and read. A
    run writes it at its end.

    Examples:
      sparring report runs/x
      sparring report tournaments/y
    """

    folder: Path
    """The folder of a run that has ended, or of a tournament."""
    json: bool = False
    """Print one JSON object instead."""


def report(arguments: list[str]) -> int:
    """Writes the page of a run or of a tournament."""
    options: Report = parse(positional(Report), "sparring report", arguments)

    from sparring.envs.views import printable

    from ..report.report import write_report
    from ..storage.game_files import Unreadable

    unreadable = Unreadable(lambda message: print(f"sparring report: {printable(message)}", file=sys.stderr))
    path = write_report(options.folder, unreadable)
    if options.json:
        print_json({"report": str(path), "unreadable": unreadable.count})
        return 0
    if unreadable.count:
        print(f"sparring report: {unreadable.total}", file=sys.stderr)
    print(path)
    return 0
