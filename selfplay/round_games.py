"""The games of a round: played, and on the disk with their token streams before anything is learnt from them, or read from there."""

from collections.abc import Sequence
from dataclasses import replace

from sparring.agents.core import derive_seed
from sparring.agents.language_model import LanguageModel, ModelAgent
from sparring.agents.rollout import Match, Played

from .episodes import write_episodes
from .progress import Progress, counted
from .ranks import Ranks
from .run_folder import RunFolder
from .session import Session
from .streams import read_played, write_streams
from .word_sets import round_tasks


def games_of(
    number: int, seed: int, session: Session, folder: RunFolder, ranks: Ranks, progress: Progress
) -> tuple[list[Played], dict[str, float]]:
    """The games of a round by the model of the session, how many of their draws were near ties and how full batches were: those that an
    interrupted update left on the disk, else played now."""
    config, loop = session.config, session.model.loop
    matches = _matches(number, seed, session)
    kept = ranks.from_main(lambda: _kept(number, seed, matches, folder, progress) is not None)
    found = _kept(number, seed, matches, folder, progress) if kept else None
    if found is not None:
        return found
    if isinstance(session.opponent, ModelAgent) and isinstance(session.opponent.model, LanguageModel):
        session.opponent.model.forget_caches()  # of the rounds before, which a resumed run has not played
    before = replace(loop.counters)
    batch = min(config.concurrency, loop.max_rows, -(-len(matches) // ranks.size))
    with progress.phase(f"round {number}/{config.rounds}: play", len(matches)) as advance:
        shown = counted(advance, ranks.size, lambda: loop.counters.occupancy(before, batch))
        played = ranks.play(matches, concurrency=config.concurrency, progress=shown, streams=True)
    told = ranks.gather((loop.counters.near_ties - before.near_ties, loop.counters.occupancy(before, batch)))
    manner = {"near_ties": sum(ties for ties, _ in told), "occupancy": sum(filled for _, filled in told) / len(told)}

    def write() -> None:
        games, streams = folder.games(number), folder.streams(number)
        streams.unlink(missing_ok=True)
        write_episodes(games, played)
        if session.game.replayable:
            write_streams(streams, played, games, {"seed": seed, **manner})

    ranks.from_main(write)
    return played, manner


def _matches(number: int, seed: int, session: Session) -> list[Match]:
    config = session.config
    agents = session.agents(session.agent(session.model, config.model, trainable=True))
    words = session.words.in_round(number, config.rounds)
    tasks = round_tasks(words, config.games_per_round, config.group_size, seed, f"{number}")
    return [Match(task.id, session.game, task, agents, derive_seed(seed, task.id)) for task in tasks]


def _kept(
    number: int, seed: int, matches: Sequence[Match], folder: RunFolder, progress: Progress
) -> tuple[list[Played], dict[str, float]] | None:
    """The games of a round that are on the disk, and what else was counted; None where they are not, or are other ones."""
    streams = folder.streams(number)
    if not streams.is_file():
        return None
    try:
        played, about = read_played(streams, folder.games(number), matches)
    except ValueError as error:
        progress.say(f"the games of round {number} are played anew: {error}")
        return None
    return (played, about) if about.pop("seed") == seed else None
