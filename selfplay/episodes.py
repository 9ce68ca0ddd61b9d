"""Finished games as JSON lines, one a game, compressed; equal games are equal bytes. Timings are kept elsewhere.

Text in these files was written by models: it is data, to be escaped wherever it is shown.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

from sparring.agents.rollout import Played
from sparring.envs.core import Evidence, Outcome, State, Task, Utterance, make_game, replay
from sparring.envs.forms import table_hash
from sparring.envs.views import printable

from .run_folder import writing

SCHEMA = 1


@dataclass(frozen=True)
class Episode:
    """A game read back. record: the whole line. utterances and outcome: as they were played."""

    record: dict[str, Any]
    task: Task
    utterances: tuple[Utterance, ...]
    outcome: Outcome

    @property
    def game(self) -> str:
        return str(self.record["game"]["name"])

    @property
    def seats(self) -> dict[str, dict[str, Any]]:
        """agent and weight_version by role."""
        return dict(self.record["seats"])

    def replayed(self) -> State:
        """The game played again by today's rules. Raises ValueError where they no longer fit what was said."""
        game = make_game(self.game, **self.record["game"]["config"])
        return replay(game, self.task, self.utterances)


def record(played: Played) -> dict[str, Any]:
    """One game's line."""
    match, outcome = played.match, played.outcome
    return {
        "schema": SCHEMA,
        "id": match.id,
        "game": {"name": match.game.name, "version": match.game.version, "config": match.game.config()},
        "rule_table": table_hash(),
        "task": {"id": match.task.id, "secret": match.task.secret, "group": match.task.group, "seed": match.task.seed},
        "seats": {
            role: {
                "agent": agent.name,
                "weight_version": agent.weight_version,
                "prompt": getattr(getattr(agent, "renderer", None), "prompt_id", None),
            }
            for role, agent in sorted(match.agents.items())
        },
        "utterances": [
            {
                "role": u.role,
                "text": u.text,
                "truncated": u.truncated,
                "private": said.private,
                "finish": said.finish,
                "tokens": said.tokens,
            }
            for u, said in zip(played.state.utterances, played.replies, strict=False)
        ],
        "outcome": {
            "winner": outcome.winner,
            "reason": outcome.reason,
            "utilities": dict(sorted(outcome.utilities.items())),
            "evidence": outcome.evidence and vars(outcome.evidence),
        },
    }


def write_episodes(path: Path, played: Iterable[Played]) -> None:
    """Writes games in the order given. The file is whole or absent."""
    with episode_writer(path) as write:
        for p in played:
            write(p)


@contextmanager
def episode_writer(path: Path) -> Iterator[Callable[[Played], None]]:
    """Writes games one by one, as they come. The file is there, whole, when the block ends well, else absent. Raises ValueError for a name
    that does not say that it is compressed."""
    if path.suffix != ".gz":
        raise ValueError(f"games are written compressed: call the file {path.stem}.jsonl.gz, not {path.name}")
    with writing(path) as aside, aside.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:

        def write(played: Played) -> None:
            file.write(json.dumps(record(played), ensure_ascii=True, allow_nan=False, sort_keys=False).encode() + b"\n")

        yield write


def open_text(path: Path) -> TextIO:
    """A text file, or a compressed one by its name."""
    return cast(TextIO, gzip.open(path, "rt", encoding="utf-8")) if path.suffix == ".gz" else path.open(encoding="utf-8")


def read_episodes(path: Path) -> Iterator[Episode]:
    """The games of a .jsonl or .jsonl.gz file. Raises ValueError naming the line that cannot be read."""
    with open_text(path) as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield episode(line, f"{path}, line {number}")
        except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a whole file of games: {error}") from error


def episode(line: str, where: str) -> Episode:
    """The game of one line. Raises ValueError naming the place, `where`."""
    try:
        data = json.loads(line)
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']!r}, but this version reads schema {SCHEMA}")
        task = Task(**data["task"])
        utterances = tuple(Utterance(str(u["role"]), str(u["text"]), bool(u["truncated"])) for u in data["utterances"])
        given = data["outcome"]
        evidence = given["evidence"] and Evidence(**given["evidence"])
        outcome = Outcome(dict(given["utilities"]), given["winner"], str(given["reason"]), evidence)
        return Episode(data, task, utterances, outcome)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where}: not a game ({error!r})") from error


def verdict(game: Mapping[str, Any]) -> str:
    """How the game of a line ended: the reason, the winner, and what was said that decided it."""
    outcome, evidence = game["outcome"], game["outcome"]["evidence"]
    ended = f"{outcome['reason']}, the {outcome['winner']} wins" if outcome["winner"] else f"{outcome['reason']}, nobody wins"
    said = ""
    if evidence and outcome["reason"] not in ("silent", "overlong"):
        said = printable(game["utterances"][evidence["turn"]]["text"][evidence["start"] : evidence["end"]])
    return f"{ended}: [{said}]" if said else ended


def inset(text: str) -> str:
    """What a player said, to be printed beside what others did: its further lines stand to the right, and so begin nothing new."""
    return printable(text).replace("\n", f"\n{' ' * 8}")


def transcript(game: Mapping[str, Any]) -> str:
    """The game of a line as plain text, without what could steer a terminal."""
    lines = [f"secret word: {game['task']['secret']}"] if game["task"]["secret"] else []
    lines += [f"  {utterance['role']}: {inset(utterance['text'])}" for utterance in game["utterances"]]
    return "\n".join([*lines, f"  -- {verdict(game)}"])
