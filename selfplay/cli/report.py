"""sparring report: a run's page, written anew."""

from dataclasses import dataclass
from pathlib import Path

from .common import print_json
from .options import parse, positional


@dataclass(frozen=True)
class Report:
    """Writes a run's report.html anew and says where it is.

    Example:
      sparring report runs/x
    """

    run: Path
    """A run folder."""
    json: bool = False
    """Print one JSON object instead."""


def report(arguments: list[str]) -> int:
    """Writes a run's report.html anew."""
    options: Report = parse(positional(Report), "sparring report", arguments)

    from ..report.report import write_report

    path = write_report(options.run)
    if options.json:
        print_json({"report": str(path)})
    else:
        print(path)
    return 0
