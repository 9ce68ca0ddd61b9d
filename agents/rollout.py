"""Playing many games at once: drives the seats' coroutines, collects their requests, and hands them to each backend in batches.

Knows games, agents and backends by their protocols only. What a match comes to depends on the match (its seeds), not on how many others are
played beside it.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from sparring.envs.core import VOID, Game, Outcome, State, Task

from .core import Agent, Backend, Finish, Reply, Request, Seat, Segment, derive_seed


@dataclass(frozen=True)
class Match:
    """One game to be played. seed: the agents' only source of randomness; the game's own is task.seed."""

    id: str
    game: Game
    task: Task
    agents: Mapping[str, Agent]
    seed: int


@dataclass(frozen=True)
class Said:
    """How one utterance came about. private: thinking. tokens: sampled ones, 0 if no model spoke."""

    role: str
    private: str
    finish: Finish
    tokens: int


@dataclass(frozen=True)
class Played:
    """A finished game. state: its last position; in a void game the one that the failure left. replies: one per utterance, in order.

    segments: by role, what may be trained on. seconds: from its first turn to its end, other games' work included.
    """

    match: Match
    state: State
    outcome: Outcome
    segments: Mapping[str, tuple[Segment, ...]]
    replies: tuple[Said, ...]
    seconds: float


@dataclass(eq=False)
class _Table:
    """A game in play. turn: the coroutine of the seat that is to act."""

    match: Match
    state: State
    seats: dict[str, Seat]
    began: float
    turn: Generator[Request, Reply, Reply] | None = None
    replies: list[Said] = field(default_factory=list)


_runs = count()


def play(matches: Iterable[Match], *, concurrency: int = 256, progress: Callable[[Played], None] | None = None) -> Iterator[Played]:
    """Plays matches, at most `concurrency` at a time, and yields each as it ends; holds no more than those in play.

    A failure of the infrastructure (a reply that finishes by "error") voids its game alone. What a seat, a game or a backend raises
    propagates. Raises ValueError for a match that lacks an agent, or shares its id with one in play.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")
    return _Scheduler(iter(matches), concurrency, progress).run()


def play_all(matches: Iterable[Match], *, concurrency: int = 256, progress: Callable[[Played], None] | None = None) -> list[Played]:
    """Plays matches and returns them in their own order."""
    numbered: dict[str, int] = {}

    def number() -> Iterator[Match]:
        for match in matches:
            if match.id in numbered:
                raise ValueError(f"two matches have the id {match.id!r}")
            numbered[match.id] = len(numbered)
            yield match

    return sorted(
        play(number(), concurrency=concurrency, progress=progress),
        key=lambda played: numbered[played.match.id],
    )


class _Scheduler:
    """One call of `play`. asked: who waits for the reply to a request, by backend and stream."""

    def __init__(self, matches: Iterator[Match], concurrency: int, progress: Callable[[Played], None] | None) -> None:
        self.matches = matches
        self.concurrency = concurrency
        self.progress = progress
        self.prefix = f"{next(_runs)}:"
        self.tables: dict[str, _Table] = {}
        self.asked: dict[tuple[int, str], _Table] = {}
        self.backends: dict[int, Backend] = {}
        self.finished: list[Played] = []

    def run(self) -> Iterator[Played]:
        try:
            while self._fill():
                yield from self._hand_out()
                self._poll()
        finally:
            for table in self.tables.values():
                for seat in table.seats.values():
                    seat.close()

    def _hand_out(self) -> Iterator[Played]:
        done, self.finished = self.finished, []
        for played in done:
            if self.progress is not None:
                self.progress(played)
            yield played

    def _fill(self) -> bool:
        """Starts games while there is room; False when nothing is in play or to be handed out."""
        while len(self.tables) + len(self.finished) < self.concurrency:
            match = next(self.matches, None)
            if match is None:
                break
            if match.id in self.tables:
                raise ValueError(f"two matches in play have the id {match.id!r}")
            missing = [role for role in match.game.roles if role not in match.agents]
            if missing:
                raise ValueError(f"match {match.id!r} has no agent for {', '.join(missing)}")
            seats = {
                role: match.agents[role].seat(match.game, role, f"{self.prefix}{match.id}:{role}", derive_seed(match.seed, role))
                for role in match.game.roles
            }
            table = _Table(match, match.game.start(match.task), seats, time.perf_counter())
            self.tables[match.id] = table
            self._advance(table, None)
        return bool(self.tables or self.finished)

    def _advance(self, table: _Table, reply: Reply | None) -> None:
        """Lets a game run until it asks a backend for something, or ends."""
        while True:
            role = table.state.to_act
            if role is None:
                assert table.state.outcome is not None, "a game without a role to act has an outcome"
                self._end(table, table.state.outcome)
                return
            try:
                if table.turn is None:
                    table.turn = table.seats[role].act(table.state.observe(role))
                    request = next(table.turn)
                else:
                    assert reply is not None
                    request = table.turn.send(reply)
            except StopIteration as stop:
                said: Reply = stop.value
                table.turn, reply = None, None
                table.replies.append(Said(role, said.private, said.finish, said.tokens))
                if said.finish == "error":
                    self._end(table, Outcome(dict.fromkeys(table.match.game.roles, 0.0), None, VOID))
                    return
                table.state = table.state.apply(said.text, truncated=said.finish == "length")
                continue
            self._ask(table, request)
            return

    def _ask(self, table: _Table, request: Request) -> None:
        key = (id(request.backend), request.stream)
        assert key not in self.asked, f"stream {request.stream!r} is asked twice at once"
        self.backends[id(request.backend)] = request.backend
        self.asked[key] = table
        request.backend.submit(request)

    def _poll(self) -> None:
        """Takes what each backend that owes replies has finished."""
        for backend in list(self.backends.values()):
            if not any(owner == id(backend) for owner, _ in self.asked):
                continue
            replies = backend.poll()
            if not replies:
                raise RuntimeError(f"backend {backend.name!r} owes replies but returned none")
            for request, reply in replies:
                table = self.asked.pop((id(backend), request.stream), None)
                if table is None:
                    raise RuntimeError(f"backend {backend.name!r} answered {request.stream!r}, which nobody here asked for")
                self._advance(table, reply)

    def _end(self, table: _Table, outcome: Outcome) -> None:
        segments = {role: seat.close() for role, seat in table.seats.items()}
        del self.tables[table.match.id]
        self.finished.append(
            Played(
                table.match,
                table.state,
                outcome,
                segments,
                tuple(table.replies),
                time.perf_counter() - table.began,
            )
        )
