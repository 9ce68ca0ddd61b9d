"""Stored games as data: talk in the formats of `formats.py`, or a table of games (Parquet). Knows no run, and
judges nothing anew."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sparring.agents.rollout import Episode, Match
from sparring.envs.views import Renderer, brief

from ..storage.folder import writing
from ..storage.game_files import StoredGame
from ..storage.locks import new_file
from .formats import FORMATS, json_writer, talk_writer

STORED_FORMATS = (*FORMATS, "parquet")
_BATCH = 1000
"""Rows that are written to a table at once."""


class Exported(NamedTuple):
    """entries: of the format. games: they come from so many."""

    entries: int
    games: int


def export(
    path: Path,
    form: str,
    games: Iterable[tuple[StoredGame, Sequence[str]]],
    renderer: Renderer,
    unreadable: Callable[[str], None],
) -> Exported:
    """Writes games, each with the roles whose talk is meant, to a new file. games and parquet hold whole
    games; the other formats talk, of games that count.

    unreadable: told of games that today's rules cannot replay, which are left out. Raises ValueError for a
    file that exists, for a game that the format cannot hold, and where there is nothing to write.
    """
    with new_file(path):
        if form == "parquet":
            with _table_writer(path) as write:
                return _written(map(_row, (stored for stored, _ in games)), write)
        if form == "games":
            with json_writer(path, as_array=False) as write:
                return _written((stored.episode.record for stored, _ in games), write)
        with talk_writer(path, form, renderer) as talk:
            for stored, roles in games:
                try:
                    episode = _episode(stored)
                except ValueError as error:
                    unreadable(f"{stored.file.path}, game {stored.episode.record['id']}: {brief(error)}")
                    continue
                talk.add(episode, roles)
        return Exported(talk.entries, talk.games)


def _episode(stored: StoredGame) -> Episode:
    """A finished game as it was when it ended, without what was sampled. Raises ValueError where today's
    rules no longer fit it."""
    one = stored.episode
    state = one.replayed()
    match = Match(one.record["id"], one.rules(), one.task, {}, one.task.seed)
    return Episode(match, state, one.outcome, {}, (), 0.0)


def _written(entries: Iterable[Any], write: Callable[[Any], None]) -> Exported:
    count = 0
    for entry in entries:
        write(entry)
        count += 1
    if not count:
        raise ValueError("no game fits these options, so there is nothing to write")
    return Exported(count, count)


def _row(stored: StoredGame) -> dict[str, Any]:
    game = stored.episode.record
    return {
        "file": stored.file.name or stored.file.path.name,
        "round": stored.file.round,
        "id": game["id"],
        "game": game["game"]["name"],
        "word": game["task"]["secret"],
        "group": game["task"]["group"],
        "seed": str(game["task"]["seed"]),
        "winner": game["outcome"]["winner"],
        "reason": game["outcome"]["reason"],
        "roles": [
            {
                "role": role,
                "agent": str(game.get("players", {}).get(role, {}).get("agent", "")),
                "utility": float(utility),
            }
            for role, utility in game["outcome"]["utilities"].items()
        ],
        "utterances": [
            {name: said.get(name, default) for name, default in (("role", ""), ("text", ""), ("private", ""), ("truncated", False))}
            | {"tokens": said.get("tokens", 0)}
            for said in game["utterances"]
        ],
    }


@contextmanager
def _table_writer(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Writes rows to a Parquet file, some at a time. Raises ValueError where pyarrow is missing."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError("Parquet needs the extra parquet: pip install -e '.[parquet]' in the checkout") from error
    text = pa.string()
    said = {"role": text, "text": text, "private": text, "truncated": pa.bool_(), "tokens": pa.int64()}
    names = ("file", "id", "game", "word", "group", "seed", "winner", "reason")
    schema = pa.schema(
        {
            **dict.fromkeys(names, text),
            "round": pa.int64(),
            "roles": pa.list_(pa.struct({"role": text, "agent": text, "utility": pa.float64()})),
            "utterances": pa.list_(pa.struct(said)),
        }
    )
    rows: list[Any] = []
    with writing(path) as aside, parquet.ParquetWriter(aside, schema) as file:

        def flush() -> None:
            file.write_table(pa.Table.from_pylist(rows, schema))
            rows.clear()

        def write(row: Mapping[str, Any]) -> None:
            rows.append(_whole(row))
            if len(rows) == _BATCH:
                flush()

        yield write
        flush()


def _whole(value: Any) -> Any:
    """A value without halves of characters, which Parquet's UTF-8 cannot hold."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {name: _whole(inner) for name, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list) else value
