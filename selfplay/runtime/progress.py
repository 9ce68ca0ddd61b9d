"""What a person sees while a run goes on: a bar per phase with rates and time left, and a line per round.

The loop speaks to `Progress` only; how it looks, and whether it is seen at all, is decided here.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from sparring.agents.rollout import Episode

INTERVAL = 10.0
"""Seconds between two lines about a phase where the output is no terminal."""


class Advance(Protocol):
    """Tells a bar how far the work has got since the last call. occupancy: how full batches have been so far, in [0, 1]."""

    def __call__(self, steps: int = 1, tokens: int = 0, occupancy: float | None = None) -> None: ...


class Progress(Protocol):
    def phase(self, title: str, total: int, unit: str = "games") -> AbstractContextManager[Advance]:
        """A stretch of work of `total` steps, each one `unit`."""

    def say(self, text: str) -> None:
        """One line that stays."""


class Quiet:
    """Shows nothing."""

    @contextmanager
    def phase(self, title: str, total: int, unit: str = "games") -> Iterator[Advance]:
        yield lambda steps=1, tokens=0, occupancy=None: None

    def say(self, text: str) -> None:
        pass

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()


class Shown:
    """Bars on a terminal; where the output is none, a line for every phase, and one with its rates every `INTERVAL` seconds."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, markup=False)
        self._bars: Bars | None = None

    @contextmanager
    def phase(self, title: str, total: int, unit: str = "games") -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rates]}"),
            TimeRemainingColumn(compact=True),
        )
        if not self.console.is_terminal:
            self.say(title)
            yield self._lines(title, total, unit)
            return
        try:
            with Bars(*columns, console=self.console, transient=True) as self._bars:
                yield _bar(self._bars, title, total, unit)
        finally:
            self._bars = None

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Takes the bar away while something else is printed on the terminal."""
        if self._bars is not None:
            self._bars.stop()
        yield
        if self._bars is not None:
            self._bars.start()

    def _lines(self, title: str, total: int, unit: str) -> Advance:
        rates, said = Rates(unit), time.perf_counter()

        def advance(steps: int = 1, tokens: int = 0, occupancy: float | None = None) -> None:
            nonlocal said
            rates.add(steps, tokens, occupancy)
            if time.perf_counter() - said >= INTERVAL:
                said = time.perf_counter()
                self.say(f"{title}: {rates.steps} of {total} {unit}, {rates}")

        return advance


class Rates:
    """How fast work has gone since this was made, as a text. unit: what a step is called."""

    def __init__(self, unit: str = "games") -> None:
        self.unit = unit
        self.began, self.steps, self.tokens = time.perf_counter(), 0, 0
        self.occupancy: float | None = None

    def add(self, steps: int = 1, tokens: int = 0, occupancy: float | None = None) -> None:
        self.steps, self.tokens, self.occupancy = self.steps + steps, self.tokens + tokens, occupancy

    def __str__(self) -> str:
        seconds = max(time.perf_counter() - self.began, 1e-9)
        parts = [f"{self.steps / seconds:,.1f} {self.unit}/s"]
        if self.tokens:
            parts.append(f"{self.tokens / seconds:,.0f} tokens/s")
        if self.occupancy is not None:
            parts.append(f"batches {self.occupancy:.0%} full")
        return ", ".join(parts)


def counted(advance: Advance, processes: int = 1, occupancy: Callable[[], float] | None = None) -> Callable[[Episode], None]:
    """Advances a bar by one game and its sampled tokens, for each of the processes that play beside this one. occupancy: how full batches
    have been."""

    def count(episode: Episode) -> None:
        tokens = sum(reply.tokens for reply in episode.turns)
        advance(processes, processes * tokens, occupancy and occupancy())

    return count


def _bar(bars: Bars, title: str, total: int, unit: str) -> Advance:
    task, rates = bars.add_task(title, total=total, rates=""), Rates(unit)

    def advance(steps: int = 1, tokens: int = 0, occupancy: float | None = None) -> None:
        rates.add(steps, tokens, occupancy)
        bars.update(task, advance=steps, rates=str(rates))

    return advance
