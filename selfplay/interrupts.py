"""Ctrl-C and SIGTERM while a run goes on: what must not be torn is finished first, a second signal stops at once."""

import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN = 1.0
"""Seconds in which the same signal is one: what starts several processes passes on what the processes were sent themselves."""


class Stopped(KeyboardInterrupt):
    """A run that was stopped and can be continued. signal: by which (SIGINT: Ctrl-C). command: how to continue."""

    def __init__(self, folder: Path, signal: int = signal.SIGINT) -> None:
        self.folder = folder
        self.signal = signal
        self.command = resume_command(folder)
        super().__init__(f"stopped; continue with: {self.command}")


def resume_command(folder: Path) -> str:
    return f"sparring train --resume {shlex.quote(str(folder))}"


class Interrupts:
    """received: the first signal that came, to this process or to another of its run, None where none did. Where it is used outside the
    main thread, signals are none of its business."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._holding = False
        self._own: tuple[int, float] | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Signals raise KeyboardInterrupt in here, save as `held` says."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._arrived) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A first signal waits until the end of the block, a second one does not. Whoever can stop earlier looks at `received`."""
        before, self._holding = self._holding, True
        try:
            yield
        finally:
            self._holding = before
        if self.received is not None and not before:
            raise KeyboardInterrupt

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        first = self._own is None or (self._own[0] == number and now - self._own[1] < AGAIN)
        self._own = self._own or (number, now)
        self.received = self.received or number
        if first and self._holding:
            # Not print: a handler may have interrupted one.
            os.write(2, b"\nfinishing the step and saving; once more stops at once\n")
            return
        raise KeyboardInterrupt
