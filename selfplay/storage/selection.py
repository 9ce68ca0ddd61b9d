"""Which stored games are meant: the filters of `sparring games`, the same as those of the page
(report/page/browser.js)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sparring.agents.names import short_name
from sparring.envs.core import VOID
from sparring.envs.views import printable

Result = Literal["won", "lost", "tied", "void"]
_ADDRESS = re.compile(r"(?s)://(?:[^/?#]*@)?([^/?#]*).*")


@dataclass(frozen=True)
class Selection:
    """Conditions on a game and on one of its roles: a role is selected where all of them hold, a game where
    any of its roles is. None leaves a condition out.

    role: its name. agent: who plays it, with or without the folders before the name. result: of that role.
    text: what it says somewhere, in capitals or not. reason: how the game ended. word: the secret word, in
    capitals or not. id: the game's own.
    """

    role: str | None = None
    agent: str | None = None
    result: Result | None = None
    text: str | None = None
    reason: str | None = None
    word: str | None = None
    id: str | None = None

    def roles(self, game: Mapping[str, Any]) -> tuple[str, ...]:
        """The roles of a stored game (the record of a line) that are selected; none where the game is not."""
        outcome = game["outcome"]
        if self.reason not in (None, outcome["reason"]) or self.id not in (None, game["id"]):
            return ()
        if self.word is not None and self.word.lower() != game["task"]["secret"].lower():
            return ()
        return tuple(role for role in outcome["utilities"] if self._fits(role, game))

    def _fits(self, role: str, game: Mapping[str, Any]) -> bool:
        agent = game.get("players", {}).get(role, {}).get("agent", "")
        return (
            self.role in (None, role)
            and (self.agent is None or self.agent in (agent, short_name(agent), agent_name(agent)))
            and self.result in (None, result(game, role))
            and (self.text is None or any(self._says(u["text"]) for u in game["utterances"] if u["role"] == role))
        )

    def _says(self, text: str) -> bool:
        return self.text is not None and self.text.lower() in printable(text).lower()


def result(game: Mapping[str, Any], role: str) -> Result:
    """What a stored game was for a role."""
    outcome = game["outcome"]
    if outcome["reason"] == VOID:
        return "void"
    if outcome["winner"] is None:
        return "tied"
    return "won" if outcome["winner"] == role else "lost"


def agent_name(spec: str) -> str:
    """An agent's name to show to others: without the folders before it; of an address the machine alone, as
    the rest may hold a key."""
    return _ADDRESS.sub(r"://\1", short_name(spec))
