"""What all commands share: options, errors, output."""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


class BadOptionsError(ValueError):
    """Bad options; the parser has said so already."""


def parse(kind: Any, program: str, arguments: list[str] | None, default: Any = None, *, description: str | None = None) -> Any:
    """Options by tyro. program: its whole name. arguments: None for those of this process. Raises BadOptionsError where they are bad (tyro
    has said why), ValueError for a number that is NaN or infinite, SystemExit(0) after --help."""
    import tyro

    from .settings import not_finite

    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        found = tyro.cli(kind, prog=program, args=arguments, description=description or kind.__doc__, **options)
    except SystemExit as end:
        if end.code:
            raise BadOptionsError from end
        raise
    wrong = not_finite(found)
    if wrong:
        raise ValueError("; ".join(wrong))
    return found


def positional(kind: Any) -> Any:
    """Required fields as positional arguments."""
    import tyro

    return tyro.conf.configure(tyro.conf.PositionalRequiredArgs)(kind)


def print_json(data: Any) -> None:
    print(json.dumps(data, ensure_ascii=False, allow_nan=False, sort_keys=True))


def console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, markup=False)


def guarded(program: str, run: Callable[[], int]) -> int:
    """The exit status of what a program runs: 2 after bad input, said in one sentence on standard error; 128 and its number
    where a signal interrupted it (130 Ctrl-C, 143 SIGTERM, 129 SIGHUP)."""
    try:
        return run()
    except BadOptionsError:
        return 2
    except BrokenPipeError:
        # Who reads, such as head, has seen enough. What is still to be flushed at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print("\n".join([f"{program}: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("\n".join([f"\n{str(stop) or 'interrupted'}", *getattr(stop, "__notes__", ())]), file=sys.stderr)
        return 128 + int(getattr(stop, "signal", signal.SIGINT))
