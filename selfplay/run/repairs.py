"""What a run wrote beside its checkpoints, compared with what they say of it, and put right where somebody has touched it."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from ..storage import checkpoint
from ..storage.folder import RunFolder, as_lines, read_lines, write_text
from ..storage.sealed import read_json


def history(folder: RunFolder, number: int) -> dict[str, Any]:
    """What a round's checkpoint tells of its run: the digests of its settings (config) and of the files that it reads (inputs), its metrics
    up to the round, and the SHA-256 of its games by round. Empty where the checkpoint before has none."""
    if number:
        before = of_checkpoint(folder, number - 1)
        if not before:
            return {}
    else:
        about = read_json(folder.provenance)
        before = {"config": about["config"], "inputs": about["inputs"], "metrics": [], "games": {}}
    games = folder.games(number)
    own = {f"{number}": hashlib.sha256(games.read_bytes()).hexdigest()} if games.is_file() else {}
    records = [record for record in read_lines(folder.metrics) if record["round"] == number]
    return {**before, "metrics": [*before["metrics"], *records], "games": {**before["games"], **own}}


def of_checkpoint(folder: RunFolder, number: int | None) -> dict[str, Any]:
    """What `history` told a round's checkpoint; empty where there is none."""
    found: dict[str, Any] = {} if number is None else checkpoint.history(folder.path, number)
    return found


def repair(folder: RunFolder, done: int | None, say: Callable[[str], None]) -> None:
    """Writes the metrics of the rounds up to `done` anew where they are not what the run wrote, and says what else is not. Nothing that is
    not of the run is touched; it is named."""
    foreign = [*folder.foreign(), *(path.relative_to(folder.path).as_posix() for path in checkpoint.notes(folder.path))]
    if foreign:
        say(f"left alone, as it is none of the run's files: {', '.join(map(repr, foreign))}")
    try:
        read_lines(folder.timings)
    except ValueError as error:
        say(f"{error}; lines that cannot be read are dropped")
        write_text(folder.timings, as_lines(read_lines(folder.timings, damaged=True)))
    kept = of_checkpoint(folder, done)
    if done is not None and kept:
        _restore_metrics(folder, done, kept["metrics"], say)
        _check_games(folder, kept["games"], say)


def _restore_metrics(folder: RunFolder, done: int, wanted: list[dict[str, Any]], say: Callable[[str], None]) -> None:
    try:
        found = [record for record in read_lines(folder.metrics) if record["round"] <= done]
    except ValueError:
        found = None
    if found != wanted:
        say(f"{folder.metrics} is not what the run wrote: the lines of its {done} rounds are written anew, from its last checkpoint")
        write_text(folder.metrics, as_lines(wanted))


def _check_games(folder: RunFolder, wanted: Mapping[str, str], say: Callable[[str], None]) -> None:
    for number, digest in wanted.items():
        games = folder.games(int(number))
        if not games.is_file() or hashlib.sha256(games.read_bytes()).hexdigest() != digest:
            state = "not what the run wrote" if games.is_file() else "gone"
            say(f"{games} is {state}; the run goes on, as the games of a finished round are not needed any more, nor played again")
