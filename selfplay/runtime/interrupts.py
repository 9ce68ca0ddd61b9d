"""Ctrl-C, SIGTERM and SIGHUP while a run goes on: what must not be torn is finished first, a second signal stops at once."""

import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from sparring.agents.names import shell_path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN = 0.05
"""Seconds in which the same signal is one, too short for two presses of Ctrl-C."""
AGAIN_OF_SEVERAL = 1.0
"""The same where several processes run: what starts them passes on what they were sent themselves."""


class Stopped(KeyboardInterrupt):
    """A run that was stopped and can be continued. signal: by which (SIGINT: Ctrl-C). command: how to continue."""

    def __init__(self, folder: Path, signal: int = signal.SIGINT) -> None:
        self.folder = folder
        self.signal = signal
        self.command = resume_command(folder)
        super().__init__(f"stopped; continue with: {self.command}")


def resume_command(folder: Path) -> str:
    return f"sparring train --resume {shell_path(folder)}"


class Interrupts:
    """received: the first signal that came, to this process or to another of its run, None where none did. Where it is used outside the
    main thread, signals are none of its business."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._holding = False
        self._own: tuple[int, float] | None = None
        self._sent = -1

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Signals raise KeyboardInterrupt in here, save as `held` says."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # A terminal that is closed is of no interest to a process that was started with nohup.
        heeded = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._arrived) for number in heeded}
        self._sent, sending = os.pipe()
        for end in (self._sent, sending):
            os.set_blocking(end, False)
        told = signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(told)
            for number, handler in before.items():
                signal.signal(number, handler)
            for end in (self._sent, sending):
                os.close(end)

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
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        again = AGAIN_OF_SEVERAL if several else AGAIN
        first = self._own is None or (self._own[0] == number and now - self._own[1] < again)
        # However many of a signal come while a long operation of torch runs, its handler is called once. The pipe has all of them.
        first = first and (self._count() < 2 or several)
        self._own = self._own or (number, now)
        self.received = self.received or number
        waits = first and self._holding
        _say(b"\nfinishing the step and saving; once more stops at once\n" if waits else b"\n")
        if not waits:
            raise KeyboardInterrupt

    def _count(self) -> int:
        """How many signals were sent since this was last asked."""
        try:
            return sum(number in SIGNALS for number in os.read(self._sent, 4096))
        except BlockingIOError:
            return 0


def _say(text: bytes) -> None:
    """Writes to the terminal, from a handler of signals, which may have interrupted a print. Where the terminal is gone, as after a SIGHUP,
    what would be printed to it goes nowhere from then on, so that what is being saved is saved."""
    try:
        os.write(2, text)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
        os.close(nowhere)
