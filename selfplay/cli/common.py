"""What all commands share: errors and output."""

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sparring.agents.models.memory import out_of_memory
from sparring.agents.text import one_line

if TYPE_CHECKING:
    from rich.console import Console


LONGEST_ERROR = 4000
"""Characters of an error that are shown."""
PLAYING_NEEDS_LESS = "a smaller --max-memory (GiB of cached keys and values) or fewer --games"
TRAINING_NEEDS_LESS = "a smaller --learner.token-budget (learning) and --max-memory (playing, in GiB)"
"""Which settings decide how much memory commands need."""


def json_line(data: Any) -> str:
    """A value as JSON in one line, in which what could steer a terminal is escaped."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, sort_keys=True)
    return text if text.isprintable() else re.sub(r"[^ -~]", lambda char: _escaped(char[0]), text)


def _escaped(char: str) -> str:
    return char if char.isprintable() else json.dumps(char)[1:-1]


def print_json(data: Any) -> None:
    print(json_line(data))


def console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise  # the BrokenPipeError that rich has caught, for `guarded`

    made = Plain(highlight=False, soft_wrap=True, markup=False, stderr=stderr)
    if not made.is_terminal:
        made.width = max(made.width, 1000)  # a file or a pipe has room for whole tables
    return made


def guarded(program: str, run: Callable[[], int], *, saving: str = PLAYING_NEEDS_LESS) -> int:
    """The exit status of what a program runs: 2 after bad input and where memory runs out, said in one
    sentence on standard error; 0 where who reads its output, such as head, has seen enough; 128 and its
    number where a signal interrupted it (130 Ctrl-C, 143 SIGTERM, 129 SIGHUP). saving: the settings with
    which it needs less memory."""
    try:
        try:
            status = run()
        except SystemExit:  # after --help
            _flush()
            raise
        _flush()
        return status
    except BrokenPipeError:
        status = 0
    except Exception as error:
        if out_of_memory(error):
            _say(f"{program}: out of memory ({one_line(error, 120)}); less is needed with {saving}", error)
        elif isinstance(error, ValueError | OSError):
            _say(f"{program}: {error}", error)
        else:
            raise
        status = 2
    except KeyboardInterrupt as stop:
        _say(f"\n{str(stop) or 'interrupted'}", stop)
        status = 128 + int(getattr(stop, "signal", signal.SIGINT))
    try:
        _flush()
    except OSError:
        # What cannot be written would be tried, and complained about, once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _say(sentence: str, error: BaseException) -> None:
    """An error and its notes on standard error, without what could steer a terminal, each cut where it is
    absurdly long."""
    from sparring.envs.views import printable

    sentences = [sentence, *getattr(error, "__notes__", ())]
    with suppress(OSError):  # nobody reads it
        print(
            "\n".join(printable(text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}...") for text in sentences),
            file=sys.stderr,
        )
