"""Finished games as JSON lines, one a game, compressed; equal games are equal bytes. Timings are kept elsewhere.

Text in these files was written by models: it is data, to be escaped wherever it is shown.
"""

import gzip
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.agents.core import MOST_TOKENS
from sparring.agents.rollout import Episode
from sparring.envs.core import Evidence, Game, Outcome, State, Task, Utterance, make_game, replay
from sparring.envs.judge.word_forms import table_hash
from sparring.envs.text_files import parse_json, read_lines
from sparring.envs.views import brief, inset, one_line

from .folder import writing
from .schema import EPISODES, require_schema


@dataclass(frozen=True)
class EpisodeRecord:
    """A game read back. record: the whole line. utterances and outcome: as they were played."""

    record: dict[str, Any]
    task: Task
    utterances: tuple[Utterance, ...]
    outcome: Outcome

    @property
    def game(self) -> str:
        return str(self.record["game"]["name"])

    @property
    def players(self) -> dict[str, dict[str, Any]]:
        """agent and weight_version by role."""
        return dict(self.record["players"])

    def replayed(self) -> State:
        """The game played again by today's rules. Raises ValueError where they no longer fit what was said."""
        return replay(self.rules(), self.task, self.utterances)

    def rules(self, **changes: Any) -> Game:
        """The game with its settings, some of them changed. Raises ValueError for a game that is not known, and for settings that it does
        not have."""
        try:
            return make_game(self.game, **{**self.record["game"]["config"], **changes})
        except (TypeError, AttributeError) as error:
            raise ValueError(f"settings that {self.game} does not have: {brief(error)}") from error


def record(episode: Episode) -> dict[str, Any]:
    """One game's line."""
    match, outcome = episode.match, episode.outcome
    return {
        "schema": EPISODES,
        "id": match.id,
        "game": {"name": match.game.name, "version": match.game.version, "config": match.game.config()},
        "rule_table": table_hash(),
        "task": {"id": match.task.id, "secret": match.task.secret, "group": match.task.group, "seed": match.task.seed},
        "players": {
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
            for u, said in zip(episode.state.utterances, episode.turns, strict=False)
        ],
        "outcome": {
            "winner": outcome.winner,
            "reason": outcome.reason,
            "utilities": dict(sorted(outcome.utilities.items())),
            "evidence": outcome.evidence and vars(outcome.evidence),
        },
    }


def write_episodes(path: Path, episodes: Iterable[Episode]) -> None:
    """Writes games in the order given. The file is whole or absent."""
    with episode_writer(path) as write:
        for p in episodes:
            write(p)


@contextmanager
def episode_writer(path: Path) -> Iterator[Callable[[Episode], None]]:
    """Writes games one by one, as they come. The file is there, whole, when the block ends well, else absent. Raises ValueError for a name
    that does not say that it is compressed."""
    if path.suffix != ".gz":
        raise ValueError(f"games are written compressed: call the file {path.stem}.jsonl.gz, not {path.name}")
    with writing(path) as aside, aside.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:

        def write(episode: Episode) -> None:
            file.write(json.dumps(record(episode), ensure_ascii=True, allow_nan=False, sort_keys=False).encode() + b"\n")

        yield write


def read_episodes(path: Path) -> Iterator[EpisodeRecord]:
    """The games of a .jsonl or .jsonl.gz file. Raises ValueError naming the line that cannot be read."""
    for where, line in read_lines(path):
        if isinstance(line, ValueError):
            raise line
        yield parse_record(line, where)


def parse_record(line: str, where: str) -> EpisodeRecord:
    """The game of one line. Raises ValueError naming the place, `where`."""
    try:
        return record_from_json(parse_json(line))
    except ValueError as error:
        raise ValueError(f"{where}: not a game ({brief(error)})") from error


def record_from_json(data: Any) -> EpisodeRecord:
    """The game that a line's JSON holds. Raises ValueError with the field that is missing or wrong."""
    game = _Fields(data, "a game")
    require_schema(game.get("schema", int), EPISODES, "the line")
    game.get("id", str)
    played, task, ended = (_Fields(game.get(name, dict), name) for name in ("game", "task", "outcome"))
    played.get("name", str)
    played.get("config", dict)
    players = _Fields(data.get("players", {}), "players")
    for role in players.data:
        players.get(role, dict)
    utterances = tuple(_utterance(_Fields(said, f"utterance {i}")) for i, said in enumerate(game.get("utterances", list)))
    utilities = _Fields(ended.get("utilities", dict), "utilities")
    winner = ended.get("winner", str, None)
    if winner is not None and winner not in utilities.data:
        raise ValueError(f"winner {brief(repr(winner), 60)} has no utility")
    outcome = Outcome(
        {role: utilities.number(role) for role in utilities.data}, winner, ended.get("reason", str), _evidence(ended, utterances)
    )
    secret = Task(task.get("id", str), task.get("secret", str), task.get("group", str), task.get("seed", int))
    return EpisodeRecord(data, secret, utterances, outcome)


class _Fields:
    """The fields of a JSON object, of the types that are asked for; `what` names it. Raises ValueError for others."""

    def __init__(self, data: Any, what: str) -> None:
        if not isinstance(data, dict):
            raise ValueError(f"{what} must be an object, got {brief(repr(data), 60)}")
        self.data, self.what = data, what

    def get(self, name: str, *kinds: Any) -> Any:
        """The value of a field, of exactly one of these types; None among them stands for null."""
        if name not in self.data:
            raise ValueError(f"{self.what} has no {name}")
        value = self.data[name]
        if type(value) not in kinds and not (value is None and None in kinds):
            wanted = " or ".join("null" if kind is None else _JSON_NAMES[kind] for kind in kinds)
            raise ValueError(f"{name} of {self.what} must be {wanted}, got {brief(repr(value), 60)}")
        return value

    def number(self, name: str) -> float:
        value: float = self.get(name, int, float)
        if not abs(value) <= sys.float_info.max:
            raise ValueError(f"{name} of {self.what} must be a finite number")
        return value


_JSON_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object", list: "a list"}


def _utterance(said: _Fields) -> Utterance:
    for name, kind in (("private", str), ("finish", str), ("tokens", int)):
        if name in said.data:
            said.get(name, kind)
    if not 0 <= said.data.get("tokens", 0) <= MOST_TOKENS:
        raise ValueError(f"tokens of {said.what} must be a number from 0 to {MOST_TOKENS}")
    return Utterance(said.get("role", str), said.get("text", str), said.get("truncated", bool))


def _evidence(outcome: _Fields, utterances: Sequence[Utterance]) -> Evidence | None:
    given = outcome.get("evidence", dict, None)
    if given is None:
        return None
    fields = _Fields(given, "evidence")
    turn, start, end = (fields.get(name, int) for name in ("turn", "start", "end"))
    if not (0 <= turn < len(utterances) and 0 <= start <= end <= len(utterances[turn].text)):
        raise ValueError("evidence is no part of what was said")
    return Evidence(turn, start, end, fields.get("matched", str))


def verdict(game: Mapping[str, Any]) -> str:
    """How the game of a line ended: the reason, the winner, and what was said that decided it."""
    outcome, evidence = game["outcome"], game["outcome"]["evidence"]
    winner = f"the {one_line(outcome['winner'])} wins" if outcome["winner"] else "nobody wins"
    said = ""
    if evidence and outcome["reason"] not in ("silent", "overlong"):
        said = one_line(game["utterances"][evidence["turn"]]["text"][evidence["start"] : evidence["end"]])
    return f"{one_line(outcome['reason'])}, {winner}" + f": [{said}]" * bool(said)


def transcript(game: Mapping[str, Any]) -> str:
    """The game of a line as plain text, without what could steer a terminal."""
    lines = [f"secret word: {one_line(game['task']['secret'])}"] if game["task"]["secret"] else []
    lines += [f"  {one_line(utterance['role'])}: {inset(utterance['text'])}" for utterance in game["utterances"]]
    return "\n".join([*lines, f"  -- {verdict(game)}"])
