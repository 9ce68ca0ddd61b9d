"""Games between two agents, counted from both roles, kept in a file and handed on as they end."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sparring.agents.core import AgentMap
from sparring.agents.players.human import Left
from sparring.agents.rollout import Episode
from sparring.envs.core import Game
from sparring.envs.hosting.opponents import require_playable

from ..evaluation.win_rates import Tally, schedule
from ..storage.episodes import episode_writer
from ..storage.summary import Cell
from .streaming import play_to


@dataclass(frozen=True)
class PlayResult:
    """What became of the games. cells: by role, in the game's order. episodes: how many ended, void ones
    included. stopped: what broke play off (a signal, a server that refuses), to be raised when the rest
    has been used; None where all games were played, or a person left."""

    cells: list[Cell]
    episodes: int
    stopped: Exception | KeyboardInterrupt | None


def play(
    agents: AgentMap,
    game: Game,
    words: Sequence[str],
    n: int,
    seed: int,
    *,
    out: Path | None = None,
    each: Callable[[Episode], None] | None = None,
    concurrency: int = 256,
    progress: Callable[[Episode], None] | None = None,
) -> list[Cell]:
    """Plays n games about words in turn, and counts them: a cell per role, in the game's order.

    agents: by role. words: the secrets, [""] in games without one. seed: equal seeds give equal tasks,
    whoever plays. out: a new file for the games (.jsonl.gz), whole whenever this ends. each: is given every
    game, in their order, when it has been written. concurrency: games in play at once. progress: is given
    every game as it ends.

    Raises ValueError for players that cannot play such games, before any is played, and what broke play off
    (KeyboardInterrupt with the attribute `signal`, an error of a server).
    """
    for role, agent in agents.items():
        require_playable(game, {role: agent}, words)
    result = play_games(agents, game, words, n, seed, out=out, each=each, concurrency=concurrency, progress=progress)
    if result.stopped is not None:
        raise result.stopped
    return result.cells


def play_games(
    agents: AgentMap,
    game: Game,
    words: Sequence[str],
    n: int,
    seed: int,
    *,
    out: Path | None = None,
    each: Callable[[Episode], None] | None = None,
    concurrency: int = 256,
    progress: Callable[[Episode], None] | None = None,
) -> PlayResult:
    """As `play`, but returns what had ended where play was broken off later than that. Raises what broke
    it off before a game ended."""
    tallies = {role: Tally(role) for role in game.roles}
    ended = 0
    with ExitStack() as stack:
        write = stack.enter_context(episode_writer(out)) if out is not None else None

        def keep(episode: Episode) -> None:
            nonlocal ended
            if write is not None:
                write(episode)
            if each is not None:
                each(episode)
            for tally in tallies.values():
                tally.add(episode)
            ended += 1

        stopped = play_to(keep, schedule(agents, game, words, n, seed), concurrency=concurrency, progress=progress)
        if isinstance(stopped, Left):
            stopped = None
        if stopped is not None and not ended:
            raise stopped
    pairs = zip(game.roles, reversed(game.roles), strict=True)
    return PlayResult([tallies[role].cell(agents[other].name, "all") for role, other in pairs], ended, stopped)
