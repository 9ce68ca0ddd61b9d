"""Games as compact data for the page's browser: names in tables, games as lists, compressed. Knows no HTML.

What is packed, as JSON:

    files    [name]                 as "round 3"
    roles, agents, words, reasons   [name]
    games    [file, id, word, reason, winner, agents, utterances, evidence]
               file, word, reason   numbers in the tables; winner: of a role, -1 for nobody
               agents               [role, agent, role, agent, ...] by number
               utterances           [[role, text]] or [role, text, truncated (0 or 1), private text]
               evidence             [utterance, start, end] in UTF-16 units, as JavaScript counts, or 0

Every text has passed `printable`, which replaces what could steer a terminal or a line's direction and keeps its length.
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


@dataclass(frozen=True)
class PackedGames:
    """data: JSON, compressed, in base64. games: how many it holds. total: lines of the files. sampled: whether some of them are left out on
    purpose. unreadable: lines that are left out because of what they hold."""

    data: str
    games: int
    total: int
    sampled: bool
    unreadable: Unreadable


def pack(files: Sequence[GameFile], unreadable: Unreadable, most: int = MOST_GAMES) -> PackedGames:
    """The games of some files, at most so many: beyond that every k-th of all lines, so that each file keeps its share. unreadable: told of
    the lines among them that are left out."""
    total, characters = count_games(files)
    wanted = min(most, total, total * MOST_CHARACTERS // max(characters, 1))
    table = _Tables()
    for stored in read_games(files, unreadable, lambda number: (number + 1) * wanted // total > number * wanted // total):
        table.add(stored)
    text = json.dumps(table.data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
    return PackedGames(data, len(table.games), total, wanted < total, unreadable)


class _Tables:
    """Games under way into the page."""

    def __init__(self) -> None:
        self.games: list[list[Any]] = []
        self._numbers: dict[str, dict[str, int]] = {name: {} for name in ("files", "roles", "agents", "words", "reasons")}

    @property
    def data(self) -> dict[str, Any]:
        return {**{name: list(numbers) for name, numbers in self._numbers.items()}, "void": VOID, "games": self.games}

    def add(self, stored: StoredGame) -> None:
        game, outcome = stored.episode.record, stored.episode.outcome
        agents = []
        for role in outcome.utilities:
            agent = game.get("players", {}).get(role, {}).get("agent", "")
            agents += [self._number("roles", role), self._number("agents", agent_name(str(agent)))]
        self.games.append(
            [
                self._number("files", stored.file.name),
                one_line(game["id"]),
                self._number("words", stored.episode.task.secret),
                self._number("reasons", outcome.reason),
                -1 if outcome.winner is None else self._number("roles", outcome.winner),
                agents,
                [self._utterance(said) for said in game["utterances"]],
                self._evidence(game),
            ]
        )

    def _number(self, table: str, name: str) -> int:
        return self._numbers[table].setdefault(one_line(name), len(self._numbers[table]))

    def _utterance(self, said: Mapping[str, Any]) -> list[Any]:
        role, text, thought = self._number("roles", said["role"]), printable(said["text"]), printable(said.get("private", ""))
        return [role, text, int(said["truncated"]), thought] if said["truncated"] or thought else [role, text]

    @staticmethod
    def _evidence(game: Mapping[str, Any]) -> list[int] | int:
        evidence = game["outcome"]["evidence"]
        if not evidence:
            return 0
        text = printable(game["utterances"][evidence["turn"]]["text"])
        return [evidence["turn"], *(_utf16_units(text[: evidence[end]]) for end in ("start", "end"))]


def _utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
