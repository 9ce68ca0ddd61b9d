"""One game as tournaments count it: who played which role, about what, how it ended, what it cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.envs.core import VOID

RULE_BREAKS = ("foul", "silent", "overlong", "invalid_move", "lied")
"""Reasons of games that a player lost by breaking a rule: it named the secret, said nothing or too much, made no legal move, lied."""
WRONG_GUESS = "declared_wrong"
BLUNDERS = (*RULE_BREAKS, WRONG_GUESS)
"""Reasons of games that ended by the loser's own mistake, whatever the winner did."""


@dataclass(frozen=True, slots=True)
class GameResult:
    """players, turns and tokens: by role, in the order of the game's roles; turns: utterances, tokens: sampled ones. seed: of the task,
    equal for games that other players played about the same word under the same conditions. winner: the number of the role that won, None
    for a tie and for a void game.
    """

    id: str
    players: tuple[str, ...]
    word: str
    seed: int
    winner: int | None
    reason: str
    turns: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def void(self) -> bool:
        return self.reason == VOID

    def score(self, role: int) -> float:
        """1 for a win, 0.5 for a tie, 0 for a loss. Not of void games."""
        return 0.5 if self.winner is None else float(self.winner == role)


def game_result(record: dict[str, Any], roles: Sequence[str]) -> GameResult:
    """The result of a game's line (`sparring.selfplay.storage.episodes`). Raises KeyError where it is no whole line."""
    task, outcome = record["task"], record["outcome"]
    utterances = [(said["role"], said.get("tokens", 0)) for said in record["utterances"]]
    return GameResult(
        id=record["id"],
        players=tuple(record["seats"][role]["agent"] for role in roles),
        word=task["secret"],
        seed=task["seed"],
        winner=None if outcome["winner"] is None else roles.index(outcome["winner"]),
        reason=outcome["reason"],
        turns=tuple(sum(who == role for who, _ in utterances) for role in roles),
        tokens=tuple(sum(tokens for who, tokens in utterances if who == role) for role in roles),
    )


def counted(results: Iterable[GameResult], without: Sequence[str] = ()) -> list[GameResult]:
    """The games that count, in an order that does not depend on the one in which they were played. without: reasons to be left out."""
    return sorted((r for r in results if not r.void and r.reason not in without), key=lambda r: (r.players, r.word, r.seed, r.id))
