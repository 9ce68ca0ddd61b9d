"""The command line. Each command has a module beside this one, a thin layer over the Python API; nothing
heavy is imported early.

Exit status: 0 done; 2 bad input or no memory left, with one sentence on standard error; 130 interrupted by
Ctrl-C, 143 by SIGTERM, 129 by SIGHUP. Where who reads the output, such as head, has seen enough, that is 0
and nothing is said.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence

from sparring.agents.engine.cores import share_cores

from .bench import bench
from .collect import collect
from .common import PLAYING_NEEDS_LESS, TRAINING_NEEDS_LESS, guarded
from .data import data
from .export import export
from .games import games
from .judge import judge
from .play import play
from .reference import reference
from .report import report
from .tournament import tournament
from .train import train
from .words import words

USAGE = """\
usage: sparring COMMAND [options]      (sparring COMMAND --help for its options; sparring --version)

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
    saving = TRAINING_NEEDS_LESS if given[:1] == ["train"] else PLAYING_NEEDS_LESS
    return guarded("sparring", lambda: _run(given), saving=saving)


def entry() -> None:
    """The console script: `main` in a process of its own, which shares the cores with other programs
    (agents/engine/cores.py)."""
    share_cores()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it was closed
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  as long as the process
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no UTF-8 become the character that stands for such
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that do not have every character
    sys.exit(main())


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        lines = [f"  {name:<11} {run.__doc__.splitlines()[0]}" for name, run in COMMANDS.items() if run.__doc__]
        print(USAGE.format(commands="\n".join(lines)))
        return 0
    if given[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"sparring {version('sparring')}")
        return 0
    name, rest = given[0], given[1:]
    if name not in COMMANDS:
        from ..config.checks import near

        raise ValueError(f"unknown command {name!r}; {near(name, COMMANDS)} (sparring --help)")
    return COMMANDS[name](rest)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "play": play,
    "tournament": tournament,
    "reference": reference,
    "bench": bench,
    "collect": collect,
    "data": data,
    "games": games,
    "words": words,
    "judge": judge,
    "report": report,
    "export": export,
}


if __name__ == "__main__":
    entry()
