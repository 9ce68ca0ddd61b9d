"""Cores that other programs want too: `share_cores` is called by the command line, and by nobody else unasked.

Work on a CPU is shared out among threads by OpenMP, whose threads wait for each other awake: GNU's looks 300,000 times
before it sleeps. That is fastest while every thread has a core. Where another program has it, the thread that waits
burns its own time for nothing, tens of thousands of times in a round of self-play.

While a process has more threads of GNU's OpenMP than there are cores, they look 100 times (its documentation,
GOMP_SPINCOUNT). So an idle team, kept while cores are short, changes how long threads wait awake, and nothing else:
not how many of them compute, hence no result, and no variable of the environment.
"""

import ctypes
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Of the environment, by which people decide themselves how threads wait."""

SECONDS = 0.1
"""From one look at the load to the next."""

SHORT = 0.1
"""Seconds a second that the threads of a process, together, wait for a core where cores are short."""

SHORTEST, LONGEST = 5, 64
"""Looks for which threads sleep soon before it is tried whether cores are still short."""

crowded = Event()
"""Set while other programs want the cores and waiting threads sleep soon."""


def share_cores(environment: Mapping[str, str] = os.environ) -> bool:
    """Lets threads that wait for others sleep soon, from now on, whenever other programs want the cores; whether that
    can be done. It cannot where the environment decides how threads wait, and where the system does not say how long
    they wait for cores. Takes a thread that looks at the load ten times a second; torch may be imported before or after.
    """
    if any(environment.get(name) for name in VARIABLES):
        return False
    try:
        waited()
    except (OSError, ValueError):
        return False
    Thread(target=_watch, name="load", daemon=True).start()
    return True


def waited(tasks: Path = Path("/proc/self/task")) -> dict[str, float]:
    """For each thread of this process the seconds in which it could have run and others had the core. Raises OSError or
    ValueError where the system does not say.
    """
    seconds = {}
    for task in tasks.iterdir():
        try:
            seconds[task.name] = int((task / "schedstat").read_text(encoding="ascii").split()[1]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            if task.exists():
                raise
            # It has ended meanwhile.
    return seconds


def since(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """Seconds that threads, together, have waited since; those that ended meanwhile do not count."""
    return sum(seconds - before.get(thread, 0.0) for thread, seconds in now.items())


class Patience:
    """Decides, one look at the load after the other, whether threads are to sleep soon.

    How long they wait for cores tells something only while they wait for each other awake. So they do again after some looks: where cores
    are still short, twice as many looks pass before the next trial.
    """

    def __init__(self) -> None:
        self._looks = SHORTEST
        self._left = 0
        self._tried = False

    def look(self, short: bool) -> bool:
        """Whether threads are to sleep soon. short: whether cores were, since the look before."""
        if self._left:
            self._left -= 1
            self._tried = not self._left
        elif short:
            self._looks = min(2 * self._looks, LONGEST) if self._tried else SHORTEST
            self._left = self._looks
        else:
            self._tried = False
        return self._left > 0


class IdleTeam:
    """One thread more than there are cores, of GNU's OpenMP, asleep until `leave`. made: set when all of them are there."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.made, self._over = Event(), Event()
        self._thread = Thread(target=self._stay, name="idle team", daemon=True)
        self._thread.start()

    def _stay(self) -> None:
        # What the team runs is a function of the library that does nothing. A team lasts as long as the thread that made it.
        nothing = ctypes.cast(self._library.omp_get_thread_num, ctypes.c_void_p)
        self._library.GOMP_parallel(nothing, None, ctypes.c_uint(self._library.omp_get_num_procs() + 1), ctypes.c_uint(0))
        self.made.set()
        self._over.wait()

    def leave(self) -> None:
        self._over.set()
        self._thread.join()


def openmp() -> ctypes.CDLL | None:
    """GNU's OpenMP as torch has loaded it. None while torch is not imported whole, and where it brings another."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "compile"):
        return None
    try:
        library = ctypes.CDLL(str(Path(str(torch.__file__)).parent / "lib" / "libtorch_cpu.so"))
    except OSError:
        return None
    return library if hasattr(library, "GOMP_parallel") and hasattr(library, "omp_get_num_procs") else None


def _watch() -> None:
    pause, patience = Event(), Patience()
    team: IdleTeam | None = None
    before, then = waited(), time.monotonic()
    while True:
        pause.wait(SECONDS)
        now, at = waited(), time.monotonic()
        asleep = patience.look(since(before, now) > SHORT * (at - then))
        before, then = now, at
        if asleep and team is None and (library := openmp()):
            team = IdleTeam(library)
            crowded.set()
        elif team and not asleep:
            crowded.clear()
            team.leave()
            team = None
