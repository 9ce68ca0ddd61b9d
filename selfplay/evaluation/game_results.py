"""One game as tournaments count it: who played which role, about what, how it ended, what it cost."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.agents.rollout import Episode
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
    def cluster(self) -> str:
        """Games of one cluster are alike: those about one word; in a game without words, those that begin alike."""
        return self.word or str(self.seed)

    @property
    def void(self) -> bool:
        return self.reason == VOID

    def score(self, role: int) -> float:
        """1 for a win, 0.5 for a tie, 0 for a loss. Not of void games."""
        return 0.5 if self.winner is None else float(self.winner == role)


def result_of(episode: Episode, players: Sequence[str]) -> GameResult:
    """The result of a finished game. players: by role, as tournaments name them."""
    match, outcome = episode.match, episode.outcome
    said = [(turn.role, turn.tokens) for turn in episode.turns]
    return _result(match.id, players, match.task.secret, match.task.seed, outcome.winner, outcome.reason, said, match.game.roles)


def result_of_record(record: Mapping[str, Any], roles: Sequence[str]) -> GameResult:
    """The result of a game's line (`sparring.selfplay.storage.episodes`). Raises KeyError or ValueError where it is of another game."""
    task, outcome = record["task"], record["outcome"]
    said = [(utterance["role"], utterance.get("tokens", 0)) for utterance in record["utterances"]]
    players = [record["players"][role]["agent"] for role in roles]
    return _result(record["id"], players, task["secret"], task["seed"], outcome["winner"], outcome["reason"], said, roles)


def _result(
    id: str,
    players: Sequence[str],
    word: str,
    seed: int,
    winner: str | None,
    reason: str,
    said: Sequence[tuple[str, int]],
    roles: Sequence[str],
) -> GameResult:
    """said: role and sampled tokens of every utterance."""
    turns, tokens = Counter(role for role, _ in said), Counter[str]()
    for role, count in said:
        tokens[role] += count
    return GameResult(
        id,
        tuple(players),
        word,
        seed,
        None if winner is None else roles.index(winner),
        reason,
        tuple(turns[role] for role in roles),
        tuple(tokens[role] for role in roles),
    )


def counted(results: Iterable[GameResult], without: Sequence[str] = ()) -> list[GameResult]:
    """The games that count, in an order that does not depend on the one in which they were played. without: reasons to be left out."""
    return sorted((r for r in results if not r.void and r.reason not in without), key=lambda r: (r.players, r.word, r.seed, r.id))
