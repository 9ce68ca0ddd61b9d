"""Every player against every other, in both roles, on the same words with the same seeds."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations
from typing import Any

from sparring.agents.core import Agent, Backend, Reply, Request
from sparring.agents.rollout import Episode, Match, play
from sparring.envs.core import Game
from sparring.envs.hosting.opponents import require_playable

from .game_results import GameResult, result_of
from .standings import standings
from .win_rates import schedule

FIRST, SECOND = "first", "second"
"""Tags of a match: who plays the first and the second role."""


@dataclass(frozen=True)
class Plan:
    """What a tournament plays. players: in the order in which they joined, which names the games; words: in the order in which games are
    about them; games: per ordered pair."""

    game: Game
    players: tuple[str, ...]
    words: tuple[str, ...]
    games: int
    seed: int

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Ordered pairs; those of a player who joins later come last."""
        order = {player: number for number, player in enumerate(self.players)}
        return sorted(permutations(self.players, 2), key=lambda pair: (max(order[p] for p in pair), order[pair[0]], order[pair[1]]))

    def matches(self, one: str, other: str) -> Iterator[Match]:
        """The games of an ordered pair, the first in the game's first role, without agents."""
        label = f"{self.players.index(one)}-{self.players.index(other)}/"
        return schedule({}, self.game, self.words, self.games, self.seed, label, {FIRST: one, SECOND: other})

    def seated(self, matches: Sequence[Match], agents: Mapping[str, Agent]) -> Iterator[Match]:
        """Matches with their players."""
        first, second = self.game.roles
        for match in matches:
            yield replace(match, agents={first: agents[match.tags[FIRST]], second: agents[match.tags[SECOND]]})


def tournament(
    players: Mapping[str, Agent],
    game: Game,
    words: Sequence[str],
    n: int,
    seed: int,
    *,
    concurrency: int = 256,
    progress: Callable[[Episode], None] | None = None,
) -> dict[str, Any]:
    """n games for every ordered pair of players: the first takes game.roles[0], the second game.roles[1].

    Returns the standings (docs/tournaments.md), as JSON. Raises ValueError for fewer than two players, and as `require_playable`. Games are
    counted as they end and not kept.
    """
    if len(players) < 2:
        raise ValueError(f"a tournament needs at least two players, got {len(players)}")
    for agent in players.values():
        require_playable(game, dict.fromkeys(game.roles, agent), words)
    plan = Plan(game, tuple(players), tuple(words), n, seed)
    matches = (match for pair in plan.pairs for match in plan.seated(list(plan.matches(*pair)), players))
    results = [result_of_match(episode) for episode in play(matches, concurrency=concurrency, progress=progress)]
    return standings(results, game.roles)


def result_of_match(episode: Episode) -> GameResult:
    """The result of a game of a tournament."""
    return result_of(episode, (episode.match.tags[FIRST], episode.match.tags[SECOND]))


def turns(pairs: Sequence[tuple[str, str]], models: Mapping[str, str | None], at_once: int) -> list[list[tuple[str, str]]]:
    """Pairs in turns, so that no turn needs more than `at_once` models (at least 2). models: by player, what is loaded for it; None for
    players without a model. Where all can be loaded there is one turn. Each model stays loaded over several turns as they come."""
    needed = sorted({model for model in models.values() if model is not None})
    if len(needed) <= max(at_once, 2):
        return [list(pairs)]
    size = max(at_once // 2, 1)
    blocks = [set(needed[start : start + size]) for start in range(0, len(needed), size)]
    left, made = list(pairs), []
    for one, other in combinations(blocks, 2):
        loaded = {None, *one, *other}
        turn = [pair for pair in left if loaded.issuperset(models[player] for player in pair)]
        left = [pair for pair in left if pair not in turn]
        if turn:
            made.append(turn)
    return made


class TimedBackend:
    """A backend that counts the seconds in which replies are computed or waited for."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.name, self.seconds = backend, backend.name, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def poll(self) -> list[tuple[Request, Reply]]:
        began = time.perf_counter()
        try:
            return self.backend.poll()
        finally:
            self.seconds += time.perf_counter() - began


@dataclass
class Meter:
    """Seconds of computing by player: a model's are shared by its players as their tokens are."""

    backends: list[tuple[TimedBackend, set[str]]] = field(default_factory=list)
    tokens: Counter[str] = field(default_factory=Counter)

    def attach(self, agents: Mapping[str, Agent]) -> None:
        """Times the models of these players from now on."""
        timed: dict[int, TimedBackend] = {}
        players: dict[int, set[str]] = {}
        for player, agent in agents.items():
            model = getattr(agent, "model", None)
            if model is None:
                continue
            model = model.backend if isinstance(model, TimedBackend) else model
            backend = timed.setdefault(id(model), TimedBackend(model))
            players.setdefault(id(model), set()).add(player)
            agent.model = backend  # type: ignore[attr-defined]
        self.backends = [(backend, players[key]) for key, backend in timed.items()]

    def add(self, result: GameResult) -> None:
        for player, tokens in zip(result.players, result.tokens, strict=True):
            self.tokens[player] += tokens

    def take(self) -> dict[str, float]:
        """The seconds by player since they were last taken."""
        found: dict[str, float] = {}
        for backend, players in self.backends:
            total = sum(self.tokens[player] for player in players)
            if total:
                found |= {player: backend.seconds * self.tokens[player] / total for player in players}
                backend.seconds = 0.0
                for player in players:
                    self.tokens[player] = 0
        return found
