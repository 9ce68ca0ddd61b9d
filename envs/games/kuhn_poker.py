"""Kuhn poker by text (Kuhn 1950): three cards, one bet, two players.

Each player antes one chip and holds one of jack, queen and king. The first player checks or bets one chip;
after a bet the other player calls or folds, after a check he checks or bets. The higher card wins the pot at
a showdown. The game's value for the first player is -1/18. An illegal move, silence and over-long speech lose
two chips, the largest possible loss.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..core import Evidence, GameSpec, Observation, Outcome, Task, Utterance, check_limits, next_utterance, register_game
from ..judge.normalise import unheard

ROLES = ("first", "second")
_OTHER = {"first": "second", "second": "first"}
CARDS = ("jack", "queen", "king")
DEALS = tuple((first, second) for first in CARDS for second in CARDS if first != second)
MOVES = ("check", "bet", "call", "fold")
_MOVE = re.compile(rf"(?<![^\W_])(?:{'|'.join(MOVES)})(?![^\W_])")


@dataclass(frozen=True)
class KuhnPoker:
    """The rules. max_characters: longer utterances are over-long."""

    max_characters: int = 200

    name = "KuhnPoker"
    version = 1
    roles = ROLES
    secret_roles = ()
    reasons = ("showdown", "folded", "illegal", "silent", "overlong")
    zero_sum = True
    utility_range = (-2.0, 2.0)
    clonable = True
    replayable = True
    horizon = 3

    def __post_init__(self) -> None:
        check_limits(max_characters=self.max_characters)

    def start(self, task: Task) -> "PokerState":
        """The task's seed determines the deal."""
        return PokerState(self, task, DEALS[int(np.random.default_rng(task.seed % 2**64).integers(len(DEALS)))])

    def starts(self) -> Iterator[tuple[float, "PokerState"]]:
        """Every initial state with its probability."""
        for number, deal in enumerate(DEALS):
            yield 1 / len(DEALS), PokerState(self, Task(f"deal-{number}", "", "", 0), deal)

    def config(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class PokerState:
    """One position. deal: the cards of the first and the second player. played: the moves so far."""

    game: KuhnPoker
    task: Task
    deal: tuple[str, str]
    played: tuple[str, ...] = ()
    utterances: tuple[Utterance, ...] = ()
    outcome: Outcome | None = None

    @property
    def to_act(self) -> str | None:
        return None if self.outcome else ROLES[len(self.utterances) % 2]

    @property
    def position(self) -> tuple[str, ...]:
        """A key that is equal for states with equal continuations."""
        return (*self.deal, *self.played)

    def moves(self) -> tuple[str, ...]:
        """The legal moves."""
        return ("call", "fold") if self.played[-1:] == ("bet",) else ("check", "bet")

    def apply(self, text: str, *, truncated: bool = False) -> "PokerState":
        utterance = next_utterance(self, text, truncated)
        after = replace(self, utterances=(*self.utterances, utterance))
        whole = Evidence(len(self.utterances), 0, len(text), "")
        other = _OTHER[utterance.role]
        move = named_move(text)
        lost = unheard(text, truncated, self.game.max_characters)
        if lost or move not in self.moves():
            return replace(after, outcome=_won(other, 2.0, lost or "illegal", whole))
        after = replace(after, played=(*self.played, move))
        if move == "fold":
            return replace(after, outcome=_won(other, 1.0, "folded", replace(whole, matched=move)))
        if move == "call" or after.played == ("check", "check"):
            winner = ROLES[0] if CARDS.index(self.deal[0]) > CARDS.index(self.deal[1]) else ROLES[1]
            return replace(after, outcome=_won(winner, 2.0 if move == "call" else 1.0, "showdown", None))
        return after

    def observe(self, role: str) -> Observation:
        if role not in ROLES:
            raise ValueError(f"unknown role {role!r}; the roles are {', '.join(ROLES)}")
        private = {"card": self.deal[ROLES.index(role)]}
        return Observation(self.game.name, role, {}, private, self.utterances, self.to_act, self.outcome)


def named_move(text: str) -> str | None:
    """The only move that a text names; None for none or several."""
    named = set(_MOVE.findall(text.lower()))
    return named.pop() if len(named) == 1 else None


def _won(winner: str, chips: float, reason: str, evidence: Evidence | None) -> Outcome:
    return Outcome({winner: chips, _OTHER[winner]: -chips}, winner, reason, evidence)


TASKS = tuple(Task(f"example-{seed}", f"no secret {seed}", f"{seed}", seed) for seed in (0, 1))
TALKS = (
    ("I check.", "I bet.", "I call!"),
    ("check", "check"),
    ("Bet.", "fold"),
    ("check", "call"),
    ("bet or check",),
    ("bet", ""),
)

register_game(GameSpec("KuhnPoker", KuhnPoker, TASKS, TALKS))
