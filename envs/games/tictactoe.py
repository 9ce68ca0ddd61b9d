"""Tic-tac-toe by text: x and o name squares in turn, x first.

The role to act is shown the position alone, so a policy is a function of the 4,520 non-terminal positions,
and exact play (minimax) and exact exploitability can be computed. A move that names no free square, or more
than one number, loses.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..core import HOST, Evidence, GameSpec, Observation, Outcome, Task, Utterance, check_limits, next_utterance, register_game
from ..judge.normalise import unheard

ROLES = ("x", "o")
_OTHER = {"x": "o", "o": "x"}
_LINES = ((1, 2, 3), (4, 5, 6), (7, 8, 9), (1, 4, 7), (2, 5, 8), (3, 6, 9), (1, 5, 9), (3, 5, 7))


@dataclass(frozen=True)
class TicTacToe:
    """The rules. The squares are 1 to 9, row by row. max_characters: longer utterances are over-long."""

    max_characters: int = 200

    name = "TicTacToe"
    version = 1
    roles = ROLES
    secret_roles = ()
    reasons = ("three_in_a_row", "illegal", "silent", "overlong", "board_full")
    zero_sum = True
    utility_range = (-1.0, 1.0)
    clonable = True
    replayable = True
    horizon = 9

    def __post_init__(self) -> None:
        check_limits(max_characters=self.max_characters)

    def start(self, task: Task) -> "BoardState":
        return BoardState(self, task)

    def starts(self) -> Iterator[tuple[float, "BoardState"]]:
        """Every initial state with its probability."""
        yield 1.0, self.start(Task("start", "", "", 0))

    def config(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class BoardState:
    """One position. squares: the owners of squares 1 to 9, as nine characters of x, o and a dot."""

    game: TicTacToe
    task: Task
    squares: str = "." * 9
    utterances: tuple[Utterance, ...] = ()
    outcome: Outcome | None = None

    @property
    def to_act(self) -> str | None:
        return None if self.outcome else ROLES[len(self.utterances) % 2]

    @property
    def position(self) -> str:
        """A key that is equal for states with equal continuations."""
        return self.squares

    def moves(self) -> tuple[str, ...]:
        """The legal moves."""
        return tuple(str(square) for square, holder in enumerate(self.squares, 1) if holder == ".")

    def apply(self, text: str, *, truncated: bool = False) -> "BoardState":
        utterance = next_utterance(self, text, truncated)
        utterances = (*self.utterances, utterance)
        whole = Evidence(len(self.utterances), 0, len(text), "")
        square = named_square(text)
        lost = unheard(text, truncated, self.game.max_characters)
        if lost or square is None or self.squares[square - 1] != ".":
            return replace(self, utterances=utterances, outcome=_won(_OTHER[utterance.role], lost or "illegal", whole))
        squares = self.squares[: square - 1] + utterance.role + self.squares[square:]
        outcome = None
        if any(all(squares[at - 1] == utterance.role for at in line) for line in _LINES):
            outcome = _won(utterance.role, "three_in_a_row", replace(whole, matched=str(square)))
        elif "." not in squares:
            outcome = Outcome({"x": 0.0, "o": 0.0}, None, "board_full")
        return replace(self, squares=squares, utterances=utterances, outcome=outcome)

    def observe(self, role: str) -> Observation:
        if role not in ROLES:
            raise ValueError(f"unknown role {role!r}; the roles are {', '.join(ROLES)}")
        shown = (Utterance(HOST, describe(self.squares)),) if role == self.to_act else ()
        return Observation(self.game.name, role, {}, {}, shown, self.to_act, self.outcome)


def named_square(text: str) -> int | None:
    """The square that a move names; None unless the text contains exactly one number, and that is a square."""
    numbers = re.findall(r"[0-9]+", text)
    return int(numbers[0]) if len(numbers) == 1 and len(numbers[0]) == 1 and numbers[0] != "0" else None


def describe(squares: str) -> str:
    """A position in words, as "x: 5 9. o: 1. Free: 2 3 4 6 7 8."."""
    held = {holder: " ".join(str(at) for at, who in enumerate(squares, 1) if who == holder) or "none" for holder in "xo."}
    return f"x: {held['x']}. o: {held['o']}. Free: {held['.']}."


def _won(winner: str, reason: str, evidence: Evidence) -> Outcome:
    return Outcome({winner: 1.0, _OTHER[winner]: -1.0}, winner, reason, evidence)


TASKS = tuple(Task(f"example-{seed}", f"no secret {seed}", f"{seed}", seed) for seed in (0, 1))
TALKS = (
    ("I take 5.", "1", "2", "8", "I play square 3", "7", "4", "6", "9"),
    ("5", "4", "1", "9", "3", "7", "2"),
    ("5", "5"),
    ("5", "1 or 3"),
    ("ten",),
    ("5", ""),
)

register_game(GameSpec("TicTacToe", TicTacToe, TASKS, TALKS))
