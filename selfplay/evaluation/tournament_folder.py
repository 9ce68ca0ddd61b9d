"""The folder of a tournament, which can be stopped at any time and gone on with, and to which players can be added.

    tournament.json     what is played: game, judge, words, seeds, sampling, players and the digests of their weights
    games.jsonl         one game a line, as it ended
    seconds.jsonl       what computing took, by player
    results.json, results.csv, results.md, ladder.png

A game is known by its id, players and seed, so games that are there are never played again.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparring.agents.models.manifest import model_digests
from sparring.agents.names import is_model, local_folders, shell_path
from sparring.agents.rollout import Episode, Match
from sparring.envs.core import Game, make_game
from sparring.envs.games import registered as _games  # noqa: F401  registers the games
from sparring.envs.judge.word_forms import table_hash
from sparring.envs.text_files import read_lines
from sparring.envs.views import brief

from ..storage.episodes import parse_record, record
from ..storage.locks import locked, require_text
from ..storage.sealed import digest, read_sealed, write_sealed
from .game_results import GameResult, result_of_record
from .tournament import FIRST, SECOND, Plan

MANIFEST, GAMES, SECONDS, RESULTS, LOCK = "tournament.json", "games.jsonl", "seconds.jsonl", "results.json", ".lock"
SCHEMA = 1
CHUNK = 64
"""Games after which all that ended are on the disk; a process that is killed loses none that had ended, a machine that fails these."""


@dataclass(frozen=True)
class Entrant:
    """A player of a tournament. weights: a digest of its files here, None where there are none. person: plays when there is time, so
    nobody waits for its games."""

    agent: str
    weights: str | None = None
    person: bool = False


def entrant(spec: str) -> Entrant:
    """A player by its name."""
    files = {str(number): model_digests(folder) for number, folder in enumerate(local_folders(spec))}
    path = Path(spec)
    if is_model(spec) and not files and path.is_file():
        with path.open("rb") as file:
            files["0"] = {path.name: hashlib.file_digest(file, "sha256").hexdigest()}
    return Entrant(spec, digest(files) if files else None, spec == "human")


@dataclass(frozen=True)
class TournamentFolder:
    """options: settings as they were given, by name: of the game, words, sampling, seed, games per ordered pair."""

    path: Path
    options: Mapping[str, Any]
    entrants: tuple[Entrant, ...]
    game: Game
    words: tuple[str, ...]

    @property
    def plan(self) -> Plan:
        return Plan(self.game, tuple(e.agent for e in self.entrants), self.words, self.options["games"], self.options["seed"])

    @property
    def games(self) -> Path:
        return self.path / GAMES

    def planned(self) -> list[Match]:
        """The games that are to be played, those of persons left out."""
        people = {e.agent for e in self.entrants if e.person}
        plan = self.plan
        return [match for pair in plan.pairs if not people.intersection(pair) for match in plan.matches(*pair)]

    def save(self) -> None:
        data = {
            "schema": SCHEMA,
            "options": dict(self.options),
            **rules(self.game, self.words),
            "players": [vars(e) for e in self.entrants],
        }
        write_sealed(self.path / MANIFEST, data)

    def joined(self, entrants: Sequence[Entrant]) -> "TournamentFolder":
        """With more players; those who are there already are not added twice."""
        known = {e.agent for e in self.entrants}
        return replace(self, entrants=(*self.entrants, *(e for e in entrants if e.agent not in known)))

    def require_unchanged(self, players: Collection[str]) -> None:
        """Raises ValueError where the weights of one of these players are no longer those that played."""
        for there in self.entrants:
            if there.agent in players and there.weights is not None and entrant(there.agent).weights != there.weights:
                raise ValueError(
                    f"the weights of {there.agent} are not those that played in {self.path}: put them back, or begin anew with --out FOLDER"
                )

    def read(self) -> tuple[dict[str, GameResult], list[str]]:
        """The games that have ended, by id, and what is wrong with each line that holds none of them. Of a game that is there twice the one
        counts that is not void."""
        results: dict[str, GameResult] = {}
        problems: list[str] = []
        if not self.games.exists():
            return results, problems
        known = {match.id: match for pair in self.plan.pairs for match in self.plan.matches(*pair)}
        for where, line in read_lines(self.games):
            try:
                if isinstance(line, ValueError):
                    raise line
                result = self._result(line, where, known)
            except ValueError as error:
                problems.append(brief(error))
                continue
            if result.id not in results or results[result.id].void:
                results[result.id] = result
        return results, problems

    def _result(self, line: str, where: str, known: Mapping[str, Match]) -> GameResult:
        read = parse_record(line, where).record
        try:
            result = result_of_record(read, self.game.roles)
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{where}: not a game of this tournament ({brief(error)})") from error
        match = known.get(result.id)
        if match is None or (match.tags[FIRST], match.tags[SECOND], match.task.seed) != (*result.players, result.seed):
            raise ValueError(f"{where}: not a game of this tournament ({brief(result.id, 60)})")
        return result

    def mend(self) -> None:
        """Drops a last line that was cut off in the middle."""
        if self.games.exists():
            os.truncate(self.games, _whole_bytes(self.games))

    @contextmanager
    def writing(self) -> Iterator[Callable[[Episode], None]]:
        """Adds games to the file, each when it has ended."""
        with self.games.open("ab") as file:
            written = 0

            def write(episode: Episode) -> None:
                nonlocal written
                file.write(json.dumps(record(episode), ensure_ascii=True, allow_nan=False).encode() + b"\n")
                file.flush()
                written += 1
                if written % CHUNK == 0:
                    os.fsync(file.fileno())

            try:
                yield write
            finally:
                file.flush()
                os.fsync(file.fileno())

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        if seconds:
            with (self.path / SECONDS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({player: round(s, 3) for player, s in seconds.items()}) + "\n")

    def seconds(self) -> dict[str, float]:
        """What computing took so far, by player."""
        total: Counter[str] = Counter()
        path = self.path / SECONDS
        for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else ():
            try:
                total.update({player: float(s) for player, s in json.loads(line or "{}").items()})
            except (ValueError, TypeError, AttributeError):
                continue  # cut off by a kill
        return dict(total)


def _whole_bytes(path: Path) -> int:
    """The bytes of a file up to the end of its last whole line."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - (1 << 16))
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def rules(game: Game, words: Sequence[str]) -> dict[str, Any]:
    """What decides what games are and how they are judged."""
    return {
        "game": {"name": game.name, "version": game.version, "config": game.config()},
        "judge": table_hash(),
        "words": {"count": len(words), "sha256": hashlib.sha256("\n".join(words).encode()).hexdigest()},
    }


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Makes this process the only writer of a tournament's folder, which it makes where there is none. Raises ValueError where another
    process writes it, and where the folder holds something else."""
    require_text(path)
    others = [p.name for p in path.iterdir() if p.name != LOCK] if path.is_dir() else []
    if (path.exists() and not path.is_dir()) or (others and MANIFEST not in others):
        raise ValueError(f"{path} exists and is no folder of a tournament; choose a new one with --out")
    path.mkdir(parents=True, exist_ok=True)
    with locked(path, path / LOCK):
        yield


def open_tournament(path: Path, words_of: Callable[[Game, Mapping[str, Any]], Sequence[str]]) -> TournamentFolder:
    """A tournament that was begun. words_of: what games are about, by the game and the tournament's options.

    Raises ValueError where there is none, and where game, judge or words are not what they were: its games and new ones could not be
    compared.
    """
    if not (path / MANIFEST).is_file():
        raise ValueError(f"{path} is no folder of a tournament: it has no {MANIFEST}")
    data = read_sealed(path / MANIFEST)
    if data.get("schema") != SCHEMA:
        raise ValueError(f"{path / MANIFEST}: schema {data.get('schema')!r}, but this version reads schema {SCHEMA}")
    game = make_game(data["game"]["name"], **data["game"]["config"])
    words = tuple(words_of(game, data["options"]))
    now = rules(game, words)
    again = f"; choose a new folder with --out, not {shell_path(path)}"
    if now["game"]["version"] != data["game"]["version"] or now["judge"] != data["judge"]:
        raise ValueError(f"the games in {path} were decided by another judge or other rules than today's, so no game is added{again}")
    if now["words"] != data["words"]:
        raise ValueError(
            f"the list of words that {path} was played about has changed ({data['words']['count']} words then, {len(words)} now, or "
            f"others), so no game is added{again}"
        )
    return TournamentFolder(path, data["options"], tuple(Entrant(**e) for e in data["players"]), game, words)
