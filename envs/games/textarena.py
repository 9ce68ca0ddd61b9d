"""TextArena's games for two players behind the Game protocol (extra `textarena`):
`make_game("textarena:TicTacToe-v0")`.

A game of that library is mutable and draws from Python's and numpy's global random numbers. Here a state is
still an immutable value: it holds the task, the utterances, and the texts that the library showed each
player. The newest state of a line of play also holds the library's game object, which takes the next
utterance. Continuing from any other state first replays its utterances from the task's seed, and raises
ValueError where they do not come out the same. Each game has its own random state; the global ones are
restored after every call. Not thread-safe.

A player is shown the texts that the library's wrappers give to its agents, each without what the previous one
contained.
"""

import contextlib
import difflib
import random
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import textarena
from textarena.envs.registration import ENV_REGISTRY

from ..core import HOST, VOID, Evidence, GameSpec, Observation, Outcome, Task, Utterance, check_limits, next_utterance, replay

ROLES = ("player_0", "player_1")
"""In the order of the library's player numbers."""


@dataclass(frozen=True)
class TextArenaGame:
    """A game of the library by its id. max_turns: the game is a draw after twice as many utterances of both
    players together, refused moves included, if its own rules have not ended it. max_characters: longer
    utterances are over-long.

    Truncated and over-long utterances lose at once. The library judges everything else: most of its games
    refuse silence, and a player whose moves are refused as often as the game allows loses by an invalid move.
    Utilities are the library's rewards, clipped to [-1, 1]. A game in which the library itself fails is void,
    with a warning.
    """

    id: str
    max_turns: int = 100
    max_characters: int = 2000

    version = 1
    roles = ROLES
    secret_roles = ()
    reasons = ("won", "draw", "invalid_move", "overlong", "turn_limit")
    zero_sum = False  # Most are, but the library does not say which.
    utility_range = (-1.0, 1.0)
    clonable = True
    replayable = True

    def __post_init__(self) -> None:
        check_limits(max_turns=self.max_turns, max_characters=self.max_characters)

    @property
    def name(self) -> str:
        return f"textarena:{self.id}"

    @property
    def horizon(self) -> int:
        return 2 * self.max_turns

    def start(self, task: Task) -> "TextArenaState":
        """Raises ValueError where the library cannot begin the game with two players."""
        try:
            live = _Live(self.id, task.seed)
            seen = live.look()
        except Exception as error:  # whatever the library's many games raise
            raise ValueError(f"{self.name} cannot be played by two players here: {_brief(error)}") from error
        return TextArenaState(self, task, live=live).shown(seen)

    def config(self) -> dict[str, Any]:
        settings = asdict(self)
        del settings["id"]
        return settings


class _Live:
    """The library's mutable game at one position. said: the utterances that led to it. Only the state that
    holds this very tuple may continue it; None: no state may."""

    def __init__(self, id: str, seed: int) -> None:
        self.said: tuple[Utterance, ...] | None = ()
        self.numbers = (random.Random(seed).getstate(), np.random.RandomState(seed % 2**32).get_state())
        with self._own_numbers():
            self.env = textarena.make(id)
            if not self._wraps_observations():
                self.env = textarena.wrappers.LLMObservationWrapper(self.env)
            self.env.reset(num_players=2, seed=seed)

    def _wraps_observations(self) -> bool:
        env = self.env
        while isinstance(env, textarena.Wrapper):
            if isinstance(env, textarena.ObservationWrapper):
                return True
            env = env.env
        return False

    @contextlib.contextmanager
    def _own_numbers(self) -> Iterator[None]:
        """Context in which the game's own random state replaces the global ones, and the library's prints go
        to standard error."""
        before = random.getstate(), np.random.get_state()
        random.setstate(self.numbers[0])
        np.random.set_state(self.numbers[1])
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        finally:
            self.numbers = random.getstate(), np.random.get_state()
            random.setstate(before[0])
            np.random.set_state(before[1])

    def look(self) -> tuple[str, str]:
        """The role to act, and the text that it is shown."""
        with self._own_numbers():
            player, text = self.env.get_observation()
        return ROLES[player], str(text)

    def step(self, text: str) -> bool:
        """Plays a move. Returns True if the game has ended."""
        with self._own_numbers():
            done, _ = self.env.step(action=text)
        return bool(done)

    def rewards(self) -> tuple[dict[str, float], bool]:
        """Of an ended game: the reward of each role, and whether an invalid move ended it."""
        with self._own_numbers():
            rewards, infos = self.env.close()
        return {role: float(rewards[i]) for i, role in enumerate(ROLES)}, any(infos[i].get("invalid_move") for i in range(len(ROLES)))


@dataclass(frozen=True)
class TextArenaState:
    """One position. heard: by role, what it was shown and has said. last: by role, the last text that the
    library gave it."""

    game: TextArenaGame
    task: Task
    utterances: tuple[Utterance, ...] = ()
    to_act: str | None = None
    outcome: Outcome | None = None
    heard: Mapping[str, tuple[Utterance, ...]] = field(default_factory=lambda: dict.fromkeys(ROLES, ()))
    last: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(ROLES, ""))
    live: _Live | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "live": None}

    def apply(self, text: str, *, truncated: bool = False) -> "TextArenaState":
        utterance = next_utterance(self, text, truncated)
        heard = {**self.heard, utterance.role: (*self.heard[utterance.role], utterance)}
        after = replace(self, utterances=(*self.utterances, utterance), heard=heard, live=None)
        whole = Evidence(len(self.utterances), 0, len(text), "")
        if truncated or len(text) > self.game.max_characters:
            rewards = {role: -1.0 if role == utterance.role else 1.0 for role in ROLES}
            return after._ended(rewards, "overlong", whole)
        live = self._live_game()
        live.said = None
        try:
            if live.step(text):
                rewards, invalid = live.rewards()
                return after._ended(rewards, "invalid_move" if invalid else "", whole if invalid else None)
            seen = live.look()
        except Exception as error:  # whatever the library's many games raise
            warnings.warn(f"{self.game.name} failed on {text[:60]!r}, and the game is void: {_brief(error)}", RuntimeWarning, stacklevel=2)
            return replace(after, to_act=None, outcome=Outcome(dict.fromkeys(ROLES, 0.0), None, VOID))
        if len(after.utterances) == self.game.horizon:
            return after._ended(dict.fromkeys(ROLES, 0.0), "turn_limit", None)
        live.said = after.utterances
        return replace(after, live=live).shown(seen)

    def shown(self, seen: tuple[str, str]) -> "TextArenaState":
        """The state after the library has shown `seen` (role, text) to the role to act."""
        role, text = seen
        new = text.removeprefix(self.last[role]).strip()
        heard = {**self.heard, role: (*self.heard[role], Utterance(HOST, new))}
        return replace(self, to_act=role, heard=heard, last={**self.last, role: text})

    def observe(self, role: str) -> Observation:
        if role not in ROLES:
            raise ValueError(f"unknown role {role!r}; the roles are {', '.join(ROLES)}")
        return Observation(self.game.name, role, {"max_turns": self.game.max_turns}, {}, self.heard[role], self.to_act, self.outcome)

    def _live_game(self) -> _Live:
        if self.live is not None and self.live.said is self.utterances:
            return self.live
        again = replay(self.game, self.task, self.utterances)
        if again != self or not isinstance(again, TextArenaState) or again.live is None:
            raise RuntimeError(f"{self.game.name} does not come out the same from the same seed and moves, so it cannot be gone back to")
        return again.live

    def _ended(self, rewards: Mapping[str, float], reason: str, evidence: Evidence | None) -> "TextArenaState":
        """The state with its outcome. reason: "" where it follows from the rewards."""
        low, high = self.game.utility_range
        utilities = {role: min(max(reward, low), high) for role, reward in rewards.items()}
        best = [role for role in ROLES if utilities[role] == max(utilities.values())]
        winner = best[0] if len(best) == 1 else None
        return replace(self, to_act=None, outcome=Outcome(utilities, winner, reason or ("won" if winner else "draw"), evidence))


def _brief(error: Exception) -> str:
    """An exception in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" *")]
    return f"{type(error).__name__}: {' '.join(lines)[:300]}"


TASKS = (Task("example-0", "", "0", 0), Task("example-1", "1", "1", 0))


def textarena_spec(id: str) -> GameSpec:
    """The spec of one of the library's games by its id. Raises ValueError for an unknown id, with the nearest
    one."""
    if id not in ENV_REGISTRY:
        near = difflib.get_close_matches(id, ENV_REGISTRY, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; an id is one of its registry, as in textarena:TicTacToe-v0"
        raise ValueError(f"TextArena {textarena.__version__} has no game {id!r}{hint}")
    return GameSpec(f"textarena:{id}", partial(TextArenaGame, id), TASKS)
