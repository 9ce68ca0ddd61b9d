"""Games handed on one by one as they end, so that none is kept in memory, and none is lost when playing is broken off."""

import signal
from collections.abc import Callable, Iterable

from sparring.agents.rollout import Episode, Match, play_in_order

from ..runtime.interrupts import Interrupts


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP. signal: which."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__("interrupted")
        self.signal = number


def play_to(
    keep: Callable[[Episode], None],
    matches: Iterable[Match],
    *,
    concurrency: int = 256,
    progress: Callable[[Episode], None] | None = None,
) -> Exception | KeyboardInterrupt | None:
    """Plays matches and gives each game to `keep`, in the matches' own order, see `play_in_order`.

    Returns what broke it off: a signal or an error; None where all games were played. All that had ended until then has been kept, and the
    caller raises it when that is safe. A signal waits while `keep` runs, and what `keep` itself raises propagates.
    """
    interrupts, torn = Interrupts(), False

    def each(episode: Episode) -> None:
        nonlocal torn
        if torn:
            return
        stopping = interrupts.received is not None
        try:
            with interrupts.held():
                torn = True
                keep(episode)
                torn = False
        except KeyboardInterrupt:
            if torn or not stopping:
                raise

    try:
        with interrupts.watched():
            play_in_order(matches, each, concurrency=concurrency, progress=progress)
    except (Exception, KeyboardInterrupt) as stopped:
        if torn:
            raise
        return Interrupted(interrupts.received) if interrupts.received is not None else stopped
    return None
