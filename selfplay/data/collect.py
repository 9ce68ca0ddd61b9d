"""Games of any agents as data: a teacher plays, what it said is written down. Knows agents by their protocol, files by `formats`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparring.agents.core import Agent, derive_seed
from sparring.agents.rollout import Episode, Match
from sparring.envs.core import Game
from sparring.envs.hosting.opponents import require_playable
from sparring.envs.views import Renderer

from ..evaluation.win_rates import Tally
from ..storage.locks import new_file
from .formats import talk_writer
from .streaming import play_to
from .word_sets import round_tasks


@dataclass(frozen=True)
class Collected:
    """What a file holds. entries: of its format. games: that count, void ones apart. wins: by role. reasons: how games ended."""

    entries: int
    games: int
    void: int
    wins: Mapping[str, int]
    reasons: Mapping[str, int]


def collect(
    path: Path,
    form: str,
    tables: Sequence[tuple[Mapping[str, Agent], Sequence[str]]],
    game: Game,
    words: Sequence[str],
    games: int,
    seed: int,
    *,
    renderer: Renderer,
    group_size: int = 1,
    winners_only: bool = False,
    concurrency: int = 256,
    progress: Callable[[Episode], None] | None = None,
) -> Collected:
    """Plays `games` games at each table (agents by role, and the roles whose talk is kept) and writes them in a format, as they end.

    group_size: games about one word. winners_only: only talk that won is kept. Raises ValueError for a file that exists, or that another
    process writes, before anything is played, and where there is nothing to write. What breaks it off (Ctrl-C, a server that refuses) is
    raised when the file is whole, with what had ended by then.
    """
    if games < 1 or group_size < 1 or games % group_size:
        raise ValueError(f"games ({games}) must be a multiple of group_size ({group_size}), and at least 1")

    for agents, _ in tables:
        require_playable(game, agents, words)

    def matches() -> Iterator[Match]:
        for number, (agents, _) in enumerate(tables):
            for task in round_tasks(words, games, group_size, seed, "collect"):
                id = f"{task.id}/{number}"
                yield Match(id, game, task, agents, derive_seed(seed, id), {"table": str(number)})

    tallies = {role: Tally(role) for role in game.roles}
    stopped = None
    try:
        with new_file(path), talk_writer(path, form, renderer) as talk:

            def keep(episode: Episode) -> None:
                for tally in tallies.values():
                    tally.add(episode)
                _, roles = tables[int(episode.match.tags["table"])]
                talk.add(episode, [role for role in roles if not winners_only or episode.outcome.winner == role])

            stopped = play_to(keep, matches(), concurrency=concurrency, progress=progress)
    except ValueError:
        # Too little to write, because it was broken off.
        if stopped is None:
            raise
        raise stopped from None
    tally = tallies[game.roles[0]]
    if stopped is not None:
        stopped.add_note(f"{path} holds {talk.entries} entries of the {tally.games} games that had ended")
        raise stopped
    wins = {role: of.wins for role, of in tallies.items()}
    return Collected(talk.entries, tally.games, tally.void, wins, dict(sorted(tally.reasons.items())))
