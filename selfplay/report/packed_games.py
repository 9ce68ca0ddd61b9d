"""Games as compact data for the page's browser: names in tables, games as lists, compressed. Knows no HTML.

The index is read when the page opens, as JSON:

    files    [name]                 as "round 3"
    roles, agents, words, reasons   [name]
    games    [file, id, word, reason, winner, agents, utterances, evidence, quotation]
               file, word, reason   numbers in the tables; winner: of a role, -1 for nobody
               agents               [role, agent, role, agent, ...] by number
               utterances           how many
               evidence             [utterance, start, end] in UTF-16 units, as JavaScript counts, or 0
               quotation            the beginning of the evidence
    chunk    games whose talk lies in one piece

Talk is read when it is needed, a piece at a time: [[role, text]] or [role, text, truncated (0 or 1), private
text], game by game.

Every text has passed `printable`, which replaces what could steer a terminal or a line's direction and keeps
its length.
"""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.envs.core import VOID
from sparring.envs.views import one_line, printable

from ..storage.game_files import GameFile, StoredGame, Unreadable, count_games, read_games
from ..storage.selection import agent_name

MOST_GAMES = 20_000
MOST_CHARACTERS = 128 << 20
"""Of the lines of the games in a page. Beyond either number the page holds a sample."""
CHUNK = 500
"""Games whose talk is compressed, and read, together."""
QUOTED = 80
"""Characters of evidence that a row of the list can quote."""


@dataclass(frozen=True)
class PackedGames:
    """index, talk: JSON, compressed, in base64. games: how many there are. total: lines of the files.
    sampled: whether some of them are left out on purpose. unreadable: lines that are left out because of what
    they hold."""

    index: str
    talk: Sequence[str]
    games: int
    total: int
    sampled: bool
    unreadable: Unreadable


def pack(files: Sequence[GameFile], unreadable: Unreadable, most: int = MOST_GAMES) -> PackedGames:
    """The games of some files, at most so many: beyond that every k-th of all lines, so that each file keeps
    its share. unreadable: told of the lines among them that are left out."""
    total, characters = count_games(files)
    wanted = min(most, total, total * MOST_CHARACTERS // max(characters, 1))
    tables = _Tables()
    for stored in read_games(files, unreadable, lambda number: (number + 1) * wanted // total > number * wanted // total):
        tables.add(stored)
    index, talk = tables.packed()
    return PackedGames(index, talk, len(tables.games), total, wanted < total, unreadable)


def _packed(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


class _Tables:
    """Games under way into the page."""

    def __init__(self) -> None:
        self.games: list[list[Any]] = []
        self._numbers: dict[str, dict[str, int]] = {name: {} for name in ("files", "roles", "agents", "words", "reasons")}
        self._said: list[list[list[Any]]] = []
        self._talk: list[str] = []

    def packed(self) -> tuple[str, list[str]]:
        names = {name: list(numbers) for name, numbers in self._numbers.items()}
        return _packed({**names, "void": VOID, "chunk": CHUNK, "games": self.games}), [
            *self._talk,
            *([_packed(self._said)] if self._said else []),
        ]

    def add(self, stored: StoredGame) -> None:
        game, outcome = stored.episode.record, stored.episode.outcome
        agents = []
        for role in outcome.utilities:
            agent = game.get("players", {}).get(role, {}).get("agent", "")
            agents += [self._number("roles", role), self._number("agents", agent_name(str(agent)))]
        evidence, quotation = self._evidence(game)
        self.games.append(
            [
                self._number("files", stored.file.name),
                one_line(game["id"]),
                self._number("words", stored.episode.task.secret),
                self._number("reasons", outcome.reason),
                -1 if outcome.winner is None else self._number("roles", outcome.winner),
                agents,
                len(game["utterances"]),
                evidence,
                quotation,
            ]
        )
        self._said.append([self._utterance(said) for said in game["utterances"]])
        if len(self._said) == CHUNK:
            self._talk.append(_packed(self._said))
            self._said.clear()

    def _number(self, table: str, name: str) -> int:
        return self._numbers[table].setdefault(one_line(name), len(self._numbers[table]))

    def _utterance(self, said: Mapping[str, Any]) -> list[Any]:
        role, text, thought = (
            self._number("roles", said["role"]),
            printable(said["text"]),
            printable(said.get("private", "")),
        )
        return [role, text, int(said["truncated"]), thought] if said["truncated"] or thought else [role, text]

    @staticmethod
    def _evidence(game: Mapping[str, Any]) -> tuple[list[int] | int, str]:
        evidence = game["outcome"]["evidence"]
        if not evidence:
            return 0, ""
        text = printable(game["utterances"][evidence["turn"]]["text"])
        start, end = evidence["start"], evidence["end"]
        return [evidence["turn"], _utf16_units(text[:start]), _utf16_units(text[:end])], one_line(text[start:end][:QUOTED])


def _utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
