"""The command line. cli_COMMAND.py holds a command, a thin layer over the Python API; nothing heavy is imported before it is needed.

Exit status: 0 done; 2 bad input, with one sentence on standard error; 130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""

import sys
from collections.abc import Callable, Sequence

from .cli_bench import bench
from .cli_collect import collect
from .cli_common import guarded
from .cli_export import export
from .cli_games import games
from .cli_judge import judge
from .cli_play import play
from .cli_report import report
from .cli_tournament import tournament
from .cli_train import train
from .cli_words import words

USAGE = """\
usage: sparring COMMAND [options]      (sparring COMMAND --help for its options)

Language models that learn by playing language games against themselves.

commands:
{commands}

examples:
  sparring train                                     # the embedded model, minutes on two CPU cores
  sparring train --model ./my-model --out runs/mine  # any causal chat model of transformers
  sparring games runs/mine                           # read what was said
  sparring play --opponent mini@imitation            # join a game
  sparring tournament runs/mine@0 runs/mine@latest scripted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        lines = [f"  {name:<11} {run.__doc__.splitlines()[0]}" for name, run in COMMANDS.items() if run.__doc__]
        print(USAGE.format(commands="\n".join(lines)))
        return 0
    if given[0] == "--version":
        from importlib.metadata import version

        print(f"sparring {version('sparring')}")
        return 0
    return guarded("sparring", lambda: _run(given))


def entry() -> None:
    """The console script."""
    sys.exit(main())


def _run(given: list[str]) -> int:
    name, rest = given[0], given[1:]
    if name not in COMMANDS:
        from .settings import near

        raise ValueError(f"unknown command {name!r}; {near(name, COMMANDS)} (sparring --help)")
    return COMMANDS[name](rest)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "play": play,
    "tournament": tournament,
    "bench": bench,
    "collect": collect,
    "games": games,
    "words": words,
    "judge": judge,
    "report": report,
    "export": export,
}


if __name__ == "__main__":
    entry()
