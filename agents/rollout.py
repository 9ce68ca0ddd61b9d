"""Plays many games at once: runs the players' coroutines, collects their requests, and hands them to each
backend in batches.

Knows games, agents and backends by their protocols only. The result of a match depends on its seeds, not on
how many other games run beside it.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count

from sparring.envs.core import VOID, Game, Outcome, State, Task

from .core import Agent, Backend, Finish, Player, Reply, Request, Segment, derive_seed
from .models.token_streams import NoRoomError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Match:
    """One game to be played. seed: the agents' only source of randomness; the game's own is task.seed. tags:
    data of the caller that the finished episode carries, so nothing has to be parsed from ids."""

    id: str
    game: Game
    task: Task
    agents: Mapping[str, Agent]
    seed: int
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """How one utterance was produced. private: thinking. tokens: sampled tokens, 0 if no model spoke."""

    role: str
    private: str
    finish: Finish
    tokens: int


@dataclass(frozen=True)
class Episode:
    """A finished game. state: its last position; of a void game the position before the failure. turns: one
    per utterance, in order.

    segments: by role, what may be trained on. seconds: wall time from its first turn to its end, work on
    other games included.
    """

    match: Match
    state: State
    outcome: Outcome
    segments: Mapping[str, tuple[Segment, ...]]
    turns: tuple[Turn, ...]
    seconds: float


@dataclass(eq=False)
class _RunningEpisode:
    """A game in play. number: its index among the matches. coroutine: the turn of the player that is to
    act."""

    number: int
    match: Match
    state: State
    players: dict[str, Player]
    began: float
    coroutine: Generator[Request, Reply, Reply] | None = None
    turns: list[Turn] = field(default_factory=list)


_runs = count()
_AHEAD = 4
"""`play_in_order` starts at most this times `concurrency` games before the first of them has ended."""


def play(matches: Iterable[Match], *, concurrency: int = 256, progress: Callable[[Episode], None] | None = None) -> Iterator[Episode]:
    """Plays at most `concurrency` matches at a time, and yields each episode as it ends; finished episodes
    are not kept.

    A failure of the infrastructure (a reply that finishes by "error", a first prompt without room for a
    reply) voids only its own game. Other exceptions of players, games and backends propagate. Raises
    ValueError for a match without an agent for each role, or with the id of another one in play.
    """
    return (episode for _, episode in _Scheduler(iter(matches), concurrency, progress).run())


def play_in_order(
    matches: Iterable[Match],
    each: Callable[[Episode], None],
    *,
    concurrency: int = 256,
    progress: Callable[[Episode], None] | None = None,
) -> None:
    """Plays matches as `play` does and passes the episodes to `each` in the order of the matches.

    progress: called whenever a game ends, in any order. A long game delays those that started after it: at
    most 4 * concurrency games are in play or delayed, and no new game starts while that many are. On an
    exception (Ctrl-C, a server that refuses) `each` first gets all episodes that have ended, in order but
    with gaps; then it propagates.
    """
    scheduler = _Scheduler(iter(matches), concurrency, progress, ahead=_AHEAD * concurrency)
    waiting: dict[int, Episode] = {}
    try:
        with closing(scheduler.run()) as games:
            for number, episode in games:
                waiting[number] = episode
                while scheduler.handed_on in waiting:
                    each(waiting.pop(scheduler.handed_on))
                    scheduler.handed_on += 1
    except BaseException:
        waiting.update(scheduler.finished)
        for number in sorted(waiting):
            each(waiting[number])
        raise


def play_all(matches: Iterable[Match], *, concurrency: int = 256, progress: Callable[[Episode], None] | None = None) -> list[Episode]:
    """Plays matches and returns their episodes in the order of the matches."""
    numbered: dict[str, int] = {}

    def number() -> Iterator[Match]:
        for match in matches:
            if match.id in numbered:
                raise ValueError(f"two matches have the id {match.id!r}")
            numbered[match.id] = len(numbered)
            yield match

    return sorted(
        play(number(), concurrency=concurrency, progress=progress),
        key=lambda episode: numbered[episode.match.id],
    )


class _Scheduler:
    """One call of `play`. asked: the game that waits for the reply to a request, by backend and stream.
    finished: (index, episode) of ended games that were not yielded yet. ahead: largest number of started
    games that are not yet `handed_on`. warned: names of models whose context was too short."""

    def __init__(
        self, matches: Iterator[Match], concurrency: int, progress: Callable[[Episode], None] | None, ahead: float = math.inf
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        self.matches = matches
        self.concurrency = concurrency
        self.progress = progress
        self.prefix = f"{next(_runs)}:"
        self.running: dict[str, _RunningEpisode] = {}
        self.asked: dict[tuple[int, str], _RunningEpisode] = {}
        self.backends: dict[int, Backend] = {}
        self.finished: deque[tuple[int, Episode]] = deque()
        self.ahead = ahead
        self.begun = self.handed_on = 0
        self.warned: set[str] = set()

    def run(self) -> Generator[tuple[int, Episode]]:
        """(index among the matches, episode) as each game ends."""
        try:
            while self._fill():
                yield from self._hand_out()
                self._fill()
                self._poll()
        finally:
            for running in self.running.values():
                for player in running.players.values():
                    player.close()

    def _hand_out(self) -> Iterator[tuple[int, Episode]]:
        while self.finished:
            if self.progress is not None:
                self.progress(self.finished[0][1])  # still kept where this is interrupted
            yield self.finished.popleft()

    def _fill(self) -> bool:
        """Starts games while there is room. Returns False when nothing is in play or waiting to be
        yielded."""
        while len(self.running) + len(self.finished) < self.concurrency and self.begun - self.handed_on < self.ahead:
            match = next(self.matches, None)
            if match is None:
                break
            if match.id in self.running:
                raise ValueError(f"two matches in play have the id {match.id!r}")
            missing = [role for role in match.game.roles if role not in match.agents]
            if missing:
                raise ValueError(f"match {match.id!r} has no agent for {', '.join(missing)}")
            players = {
                role: match.agents[role].player(match.game, role, f"{self.prefix}{match.id}:{role}", derive_seed(match.seed, role))
                for role in match.game.roles
            }
            running = _RunningEpisode(self.begun, match, match.game.start(match.task), players, time.perf_counter())
            self.begun += 1
            self.running[match.id] = running
            self._advance(running, None)
        return bool(self.running or self.finished)

    def _advance(self, running: _RunningEpisode, reply: Reply | None) -> None:
        """Advances a game until it makes a request or ends."""
        while True:
            role = running.state.to_act
            if role is None:
                assert running.state.outcome is not None, "a game without a role to act has an outcome"
                self._end(running, running.state.outcome)
                return
            try:
                if running.coroutine is None:
                    running.coroutine = running.players[role].act(running.state.observe(role))
                    request = next(running.coroutine)
                else:
                    assert reply is not None
                    request = running.coroutine.send(reply)
            except StopIteration as stop:
                answer: Reply = stop.value
                running.coroutine, reply = None, None
                running.turns.append(Turn(role, answer.private, answer.finish, answer.tokens))
                if answer.finish == "error":
                    self._end(running, Outcome(dict.fromkeys(running.match.game.roles, 0.0), None, VOID))
                    return
                running.state = running.state.apply(answer.text, truncated=answer.finish == "length")
                continue
            self._ask(running, request)
            return

    def _ask(self, running: _RunningEpisode, request: Request) -> None:
        key = (id(request.backend), request.stream)
        assert key not in self.asked, f"stream {request.stream!r} is asked twice at once"
        self.backends[id(request.backend)] = request.backend
        self.asked[key] = running
        try:
            request.backend.submit(request)
        except NoRoomError as error:
            if request.backend.name not in self.warned:
                self.warned.add(request.backend.name)
                _log.warning("%s; such games are void", error)
            del self.asked[key]
            self._advance(running, Reply("", finish="error"))

    def _poll(self) -> None:
        """Collects finished replies from each backend with open requests. A backend that would only wait
        (`ready` is False, as of a server) is skipped while another one can work."""
        waits: list[Backend] = []
        polled = False
        for backend in list(self.backends.values()):
            if not self._owes(backend):
                continue
            if not getattr(backend, "ready", True):
                waits.append(backend)
                continue
            self._take(backend)
            polled = True
        if waits and not polled:
            self._take(waits[0])

    def _owes(self, backend: Backend) -> bool:
        return any(owner == id(backend) for owner, _ in self.asked)

    def _take(self, backend: Backend) -> None:
        replies = backend.poll()
        if not replies:
            raise RuntimeError(f"backend {backend.name!r} owes replies but returned none")
        for request, reply in replies:
            running = self.asked.pop((id(backend), request.stream), None)
            if running is None:
                raise RuntimeError(f"backend {backend.name!r} answered {request.stream!r}, which nobody here asked for")
            self._advance(running, reply)

    def _end(self, running: _RunningEpisode, outcome: Outcome) -> None:
        segments = {role: player.close() for role, player in running.players.items()}
        del self.running[running.match.id]
        episode = Episode(running.match, running.state, outcome, segments, tuple(running.turns), time.perf_counter() - running.began)
        self.finished.append((running.number, episode))
