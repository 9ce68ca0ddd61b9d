"""Games of any agents as data: a teacher plays, what it said is written down. Knows agents by their protocol, files by `formats`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparring.agents.core import Agent, derive_seed
from sparring.agents.rollout import Match, Played, play_all
from sparring.envs.core import VOID, Game
from sparring.envs.views import Renderer

from .formats import write_talk
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
    progress: Callable[[Played], None] | None = None,
) -> Collected:
    """Plays `games` games at each table (agents by role, and the roles whose talk is kept) and writes them in a format.

    group_size: games about one word. winners_only: only talk that won is kept. Raises ValueError for a file that exists, before anything is
    played, and where there is nothing to write.
    """
    if path.exists():
        raise ValueError(f"{path} exists; choose a new file")
    if games < 1 or group_size < 1 or games % group_size:
        raise ValueError(f"games ({games}) must be a multiple of group_size ({group_size}), and at least 1")
    matches, kept = [], {}
    for number, (agents, roles) in enumerate(tables):
        for task in round_tasks(words, games, group_size, seed, "collect"):
            id = f"{task.id}/{number}"
            matches.append(Match(id, game, task, agents, derive_seed(seed, id)))
            kept[id] = roles
    played = play_all(matches, concurrency=concurrency, progress=progress)
    counted = [p for p in played if p.outcome.reason != VOID]
    seats = [(p, role) for p in counted for role in kept[p.match.id] if not winners_only or p.outcome.winner == role]
    entries = write_talk(path, form, seats, renderer)
    reasons = sorted({p.outcome.reason for p in counted})
    return Collected(
        entries,
        len(counted),
        len(played) - len(counted),
        {role: sum(p.outcome.winner == role for p in counted) for role in game.roles},
        {reason: sum(p.outcome.reason == reason for p in counted) for reason in reasons},
    )
