"""Every player against every other, in both roles, on the same words with the same seeds."""

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

from sparring.agents.core import Agent
from sparring.agents.rollout import Episode, play
from sparring.envs.core import Game
from sparring.envs.hosting.opponents import require_playable
from sparring.envs.world.english import TruthOf

from .win_rates import Tally, schedule


def tournament(
    players: Mapping[str, Agent],
    game: Game,
    words: Sequence[str],
    n: int,
    seed: int,
    *,
    concurrency: int = 256,
    truth: TruthOf | None = None,
    progress: Callable[[Episode], None] | None = None,
) -> dict[str, Any]:
    """n games for every ordered pair of players: the first takes game.roles[0], the second game.roles[1].

    Returns {"pairs": a cell per pair and role, "players": a cell per player and role over all its games}, as JSON. Raises ValueError for
    fewer than two players, and as `require_playable`. Ties count as no win for either. Games are counted as they end and not kept.
    """
    if len(players) < 2:
        raise ValueError(f"a tournament needs at least two players, got {len(players)}")
    first, second = game.roles
    for agent in players.values():
        require_playable(game, dict.fromkeys(game.roles, agent), words)
    pairs = list(permutations(players, 2))
    of_pair = [{role: Tally(role, truth) for role in game.roles} for _ in pairs]
    of_player = {(player, role): Tally(role, truth) for player in players for role in game.roles}
    matches = (
        match
        for number, (one, other) in enumerate(pairs)
        for match in schedule({first: players[one], second: players[other]}, game, words, n, seed, f"{number}/", tags={"pair": str(number)})
    )
    for episode in play(matches, concurrency=concurrency, progress=progress):
        number = int(episode.match.tags["pair"])
        for role, player in zip(game.roles, pairs[number], strict=True):
            of_pair[number][role].add(episode)
            of_player[player, role].add(episode)
    entries = []
    for (one, other), tallies in zip(pairs, of_pair, strict=True):
        for role, player, opponent in ((first, one, other), (second, other, one)):
            entries.append({"player": player, **vars(tallies[role].cell(opponent, "all"))})
    totals = [{"player": player, **vars(tally.cell("all", "all"))} for (player, _), tally in of_player.items()]
    return {"pairs": entries, "players": totals, "void": sum(tallies[first].void for tallies in of_pair)}
