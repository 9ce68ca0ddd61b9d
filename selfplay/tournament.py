"""Every player against every other, in both seats, on the same words with the same seeds."""

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

from sparring.agents.core import Agent
from sparring.agents.rollout import Played, play_all
from sparring.envs.core import VOID, Game

from .evaluate import TruthOf, cell, schedule


def tournament(
    players: Mapping[str, Agent],
    game: Game,
    words: Sequence[str],
    n: int,
    seed: int,
    *,
    concurrency: int = 256,
    truth: TruthOf | None = None,
    progress: Callable[[Played], None] | None = None,
) -> dict[str, Any]:
    """n games for every ordered pair of players: the first takes game.roles[0], the second game.roles[1].

    Returns {"pairs": a cell per pair and seat, "players": a cell per player and seat over all its games}, as JSON. Raises ValueError for
    fewer than two players. Ties count as no win for either.
    """
    if len(players) < 2:
        raise ValueError(f"a tournament needs at least two players, got {len(players)}")
    first, second = game.roles
    pairs = list(permutations(players, 2))
    matches = []
    for number, (one, other) in enumerate(pairs):
        matches += schedule({first: players[one], second: players[other]}, game, words, n, seed, f"{number}/")
    played = play_all(matches, concurrency=concurrency, progress=progress)
    of_pair = [played[i * n : (i + 1) * n] for i in range(len(pairs))]
    entries = []
    for (one, other), games in zip(pairs, of_pair, strict=True):
        for seat, player, opponent in ((first, one, other), (second, other, one)):
            entries.append({"player": player, **vars(cell(games, opponent, seat, "all", truth))})
    totals = []
    for player in players:
        for place, seat in enumerate(game.roles):
            own = [p for pair, games in zip(pairs, of_pair, strict=True) if pair[place] == player for p in games]
            totals.append({"player": player, **vars(cell(own, "all", seat, "all", truth))})
    return {"pairs": entries, "players": totals, "void": sum(p.outcome.reason == VOID for p in played)}
