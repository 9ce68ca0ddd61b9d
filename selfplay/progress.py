"""What a person sees while a run goes on: a bar per phase with rates and time left, and a line per round.

The loop speaks to `Progress` only; how it looks, and whether it is seen at all, is decided here.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from sparring.agents.rollout import Played


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


class Shown:
    """Bars on a terminal; where the output is none, a line for every phase."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, markup=False)

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
            yield lambda steps=1, tokens=0, occupancy=None: None
            return
        with Bars(*columns, console=self.console, transient=True) as bars:
            yield _bar(bars, title, total, unit)

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


def _bar(bars: Bars, title: str, total: int, unit: str) -> Advance:
    task = bars.add_task(title, total=total, rates="")
    began, steps_done, tokens_done = time.perf_counter(), 0, 0

    def advance(steps: int = 1, tokens: int = 0, occupancy: float | None = None) -> None:
        nonlocal steps_done, tokens_done
        steps_done, tokens_done = steps_done + steps, tokens_done + tokens
        seconds = max(time.perf_counter() - began, 1e-9)
        rates = f"{steps_done / seconds:,.1f} {unit}/s"
        if tokens_done:
            rates += f", {tokens_done / seconds:,.0f} tokens/s"
        if occupancy is not None:
            rates += f", batches {occupancy:.0%} full"
        bars.update(task, advance=steps, rates=rates)

    return advance


def counted(advance: Advance, processes: int = 1, occupancy: Callable[[], float] | None = None) -> Callable[[Played], None]:
    """Advances a bar by one game and its sampled tokens, for each of the processes that play beside this one. occupancy: how full batches
    have been."""

    def count(played: Played) -> None:
        tokens = sum(reply.tokens for reply in played.replies)
        advance(processes, processes * tokens, occupancy and occupancy())

    return count
