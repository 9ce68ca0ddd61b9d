"""The games of a round: played, and on the disk with their token streams before anything is learnt from them, or read from there."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sparring.agents.core import Segment, derive_seed
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.rollout import Episode, Match, play_all

from ..data.word_sets import round_tasks
from ..runtime.distributed import Ranks
from ..runtime.progress import Progress, counted
from ..storage.episodes import parse_record, record, write_episodes
from ..storage.folder import RunFolder
from ..storage.streams import read_round, rebuild_episode, write_streams
from .league import League
from .session import Session


def games_of(
    number: int,
    seed: int,
    session: Session,
    folder: RunFolder,
    ranks: Ranks,
    progress: Progress,
    league: League | None = None,
) -> tuple[list[Episode], dict[str, float]]:
    """The games of a round by the model of the session, how many of their draws were near ties and how full batches were: those that an
    interrupted update left on the disk, else played now."""
    config, loop = session.config, session.model.loop
    matches = _matches(number, seed, session, league)
    kept = _kept(number, seed, matches, folder, progress) if ranks.main else None
    if ranks.from_main(lambda: kept is not None):
        kept = kept or _kept(number, seed, matches, folder, progress)
        assert kept is not None, "the main process has read these games"
        return kept
    if isinstance(session.opponent, ModelAgent) and isinstance(session.opponent.model, LanguageModel):
        session.opponent.model.forget_caches()  # of the rounds before, which a resumed run has not played
    before = replace(loop.counters)
    batch = min(config.concurrency, loop.max_rows, -(-len(matches) // ranks.size))
    with progress.phase(f"round {number}/{config.rounds}: play", len(matches)) as advance:
        shown = counted(advance, ranks.size, lambda: loop.counters.occupancy(before, batch))
        episodes = play_across(ranks, matches, concurrency=config.concurrency, progress=shown, streams=True)
    told = ranks.gather((loop.counters.near_ties - before.near_ties, loop.counters.occupancy(before, batch)))
    counters = {"near_ties": sum(ties for ties, _ in told), "occupancy": sum(filled for _, filled in told) / len(told)}

    def write() -> None:
        games, streams = folder.games(number), folder.streams(number)
        streams.unlink(missing_ok=True)
        write_episodes(games, episodes)
        if session.game.replayable:
            write_streams(streams, episodes, games, {"seed": seed, **counters})

    ranks.from_main(write)
    return episodes, counters


def play_across(
    ranks: Ranks,
    matches: Sequence[Match],
    *,
    concurrency: int = 256,
    progress: Callable[[Episode], None] | None = None,
    streams: bool = False,
) -> list[Episode]:
    """Plays matches, those of a group on one process, and returns all of them in order on every process. streams: with the
    segments of the games that other processes played."""
    if ranks.size == 1:
        return play_all(matches, concurrency=concurrency, progress=progress)
    groups = {group: number for number, group in enumerate(dict.fromkeys(match.task.group for match in matches))}
    own = [match for match in matches if groups[match.task.group] % ranks.size == ranks.rank]
    mine = {p.match.id: p for p in play_all(own, concurrency=concurrency, progress=progress)}
    told = ranks.gather({id: (json.dumps(record(p)), p.segments if streams else {}) for id, p in mine.items()})
    lines: dict[str, tuple[str, Mapping[str, tuple[Segment, ...]]]] = {id: found for of in told for id, found in of.items()}
    return [
        mine[match.id] if match.id in mine else rebuild_episode(match, parse_record(lines[match.id][0], match.id), lines[match.id][1])
        for match in matches
    ]


def _matches(number: int, seed: int, session: Session, league: League | None) -> list[Match]:
    config = session.config
    learner = session.agent(session.model, config.model, trainable=True)
    words = session.words.in_round(number, config.rounds)
    tasks = round_tasks(words, config.games_per_round, config.group_size, seed, f"{number}")
    if league is not None:
        return league.matches(number, seed, list(tasks), learner)
    agents = session.agents(learner)
    return [Match(task.id, session.game, task, agents, derive_seed(seed, task.id)) for task in tasks]


def _kept(
    number: int, seed: int, matches: Sequence[Match], folder: RunFolder, progress: Progress
) -> tuple[list[Episode], dict[str, float]] | None:
    """The games of a round that are on the disk, and what else was counted; None where they are not, or are other ones."""
    streams = folder.streams(number)
    if not streams.is_file():
        return None
    try:
        episodes, about = read_round(streams, folder.games(number), matches)
    except ValueError as error:
        progress.say(f"the games of round {number} are played anew: {error}")
        return None
    return (episodes, about) if about.pop("seed") == seed else None
