"""The vocabulary of a language game: task, state, observation, outcome.

A game is a pure function of (task, config, utterances): states are immutable, so a game can be cloned by
keeping a state, replayed from its utterances and judged again. Nothing here knows prompts, models, rewards or
tensors.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

VOID = "void"
"""Outcome reason of a game that failing infrastructure ended (server gone, out of memory). Void games are
counted apart and never trained on."""

HOST = "game"
"""The speaker of utterances by which the game itself tells a role something."""


def encodable(text: str) -> str:
    """The text with a question mark for each lone surrogate, which no file, server or tokenizer takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Task:
    """What one game is about.

    id: unique within a run. secret: what the game hides (Taboo: the target word). group: equal for all games
    that group-relative advantages compare. seed: the game's only source of randomness.
    """

    id: str
    secret: str
    group: str
    seed: int


class Utterance(NamedTuple):
    """What a role said in public. truncated: the text was cut at the speaker's length limit."""

    role: str
    text: str
    truncated: bool = False


@dataclass(frozen=True)
class Evidence:
    """The part of an utterance that decided a game: characters [start, end) of the raw text of utterance
    `turn`, counted from 0. matched: the normalised word that was recognised there."""

    turn: int
    start: int
    end: int
    matched: str


@dataclass(frozen=True)
class Outcome:
    """How a game ended. utilities: by role, all 0 in a void game. winner: None for a tie and for a void
    game."""

    utilities: Mapping[str, float]
    winner: str | None
    reason: str
    evidence: Evidence | None = None


class Observation(NamedTuple):
    """All that one role may know. The game builds it, so a secret cannot leak through prompts or views.

    rules: public facts of the game (Taboo: max_turns). private: what only this role knows (Taboo's attacker:
    the word). utterances: what the role has heard and said so far, in order; in most games all public
    utterances. outcome: set only after the end.
    """

    game: str
    role: str
    rules: Mapping[str, Any]
    private: Mapping[str, str]
    utterances: tuple[Utterance, ...]
    to_act: str | None
    outcome: Outcome | None = None


@runtime_checkable
class State(Protocol):
    """One immutable position of a game."""

    @property
    def task(self) -> Task: ...

    @property
    def utterances(self) -> tuple[Utterance, ...]: ...

    @property
    def to_act(self) -> str | None:
        """The role whose turn it is; None when the game has ended."""

    @property
    def outcome(self) -> Outcome | None:
        """None while the game goes on."""

    def apply(self, text: str, *, truncated: bool = False) -> "State":
        """The state after the role to act says `text`. Raises ValueError on an ended game, TypeError if text
        is no str."""

    def observe(self, role: str) -> Observation: ...


@runtime_checkable
class Game(Protocol):
    """The rules of a game, with its facts declared as data.

    secret_roles: the roles that may know a task's secret; what other roles observe does not depend on it
    until the game has ended. Empty in games without a secret, whose tasks differ by their seeds alone.
    reasons: all outcome reasons but void. horizon: the largest number of utterances in one game.
    utility_range: lowest and highest utility of one role. clonable: states are immutable values, so a search
    can branch by keeping one. replayable: equal utterances give equal states.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def roles(self) -> tuple[str, ...]: ...

    @property
    def secret_roles(self) -> tuple[str, ...]: ...

    @property
    def reasons(self) -> tuple[str, ...]: ...

    @property
    def zero_sum(self) -> bool: ...

    @property
    def clonable(self) -> bool: ...

    @property
    def replayable(self) -> bool: ...

    @property
    def horizon(self) -> int: ...

    @property
    def utility_range(self) -> tuple[float, float]: ...

    def start(self, task: Task) -> State: ...

    def config(self) -> dict[str, Any]:
        """All settings, JSON-serialisable: `make_game(name, **config)` gives an equal game."""


def check_limits(**limits: int) -> None:
    """Raises ValueError unless all limits of a game, by name, are whole numbers of at least 1."""
    if not all(type(limit) is int and limit >= 1 for limit in limits.values()):
        numbers = "must be whole numbers" if len(limits) > 1 else "must be a whole number"
        shown = ", ".join(f"{limit!r:.60}" for limit in limits.values())
        raise ValueError(f"{' and '.join(limits)} {numbers} of at least 1, got {shown}")


def next_utterance(state: State, text: str, truncated: bool) -> Utterance:
    """The utterance of the role to act; the first line of every `apply`. Raises TypeError if text is no str,
    ValueError on an ended game."""
    if not isinstance(text, str):
        raise TypeError(f"an utterance is a str, got {type(text).__name__}")
    role = state.to_act
    if role is None:
        raise ValueError(f"task {state.task.id}: the game has ended; nobody can speak")
    return Utterance(role, text, truncated)


def heard(utterances: tuple[Utterance, ...], outcome: Outcome | None, role: str) -> tuple[Utterance, ...]:
    """The utterances that a role is shown: all, except another role's foul that ended the game, as it may
    contain the secret."""
    fouled = outcome is not None and outcome.reason == "foul" and utterances[-1].role != role
    return utterances[:-1] if fouled else utterances


def replay(game: Game, task: Task, utterances: Iterable[Utterance | str]) -> State:
    """Plays recorded utterances again; a plain str is said by the role to act. Raises ValueError where a
    speaker is not the role to act."""
    state = game.start(task)
    for utterance in utterances:
        if isinstance(utterance, str):
            state = state.apply(utterance)
            continue
        if state.to_act != utterance.role:
            raise ValueError(f"task {task.id}: {utterance.role!r} speaks, but it is the turn of {state.to_act!r}")
        state = state.apply(utterance.text, truncated=utterance.truncated)
    return state


@dataclass(frozen=True)
class GameSpec:
    """A registered game: how to make it, and what its tests play.

    make: returns a Game for settings. example_tasks: at least two, with different secrets. example_talks:
    texts that are said in turn.
    """

    name: str
    make: Callable[..., Game]
    example_tasks: tuple[Task, ...]
    example_talks: tuple[tuple[str, ...], ...] = ()


_registry: dict[str, GameSpec] = {}
GAMES: Mapping[str, GameSpec] = MappingProxyType(_registry)
"""Registered games by name. The conformance, leak and golden-playthrough tests cover every one of them."""


_families: dict[str, Callable[[str], GameSpec]] = {}


def register_game(spec: GameSpec) -> None:
    if spec.name in _registry:
        raise ValueError(f"a game named {spec.name!r} is registered already")
    _registry[spec.name] = spec


def register_family(prefix: str, find: Callable[[str], GameSpec]) -> None:
    """Registers the games of another library under the names PREFIX:ID. find: returns the spec of an ID,
    whose name is PREFIX:ID; raises ValueError for an unknown ID."""
    if prefix in _families:
        raise ValueError(f"a family of games named {prefix!r} is registered already")
    _families[prefix] = find


def find_game(name: str) -> GameSpec:
    """The spec of a game, registered or of a family. Raises ValueError for an unknown name, with the known
    ones."""
    if name in _registry:
        return _registry[name]
    prefix, colon, id = name.partition(":")
    if colon and prefix in _families:
        return _families[prefix](id)
    near = difflib.get_close_matches(name, _registry, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    known = [*sorted(_registry), *(f"{family}:ID" for family in sorted(_families))]
    raise ValueError(f"unknown game {name!r}; {hint}known games: {', '.join(known)}")


def make_game(name: str, **config: Any) -> Game:
    """A game by its name and settings. Raises ValueError for an unknown name, with the known ones."""
    return find_game(name).make(**config)


def game_from_options(name: str, options: Mapping[str, str]) -> Game:
    """A game by its name, with options as users type them: texts for those settings that are whole numbers or
    texts.

    Raises ValueError for an unknown game, for an unknown option, with the nearest known one, and for a value
    that the game refuses.
    """
    spec = find_game(name)
    known = {option: value for option, value in spec.make().config().items() if isinstance(value, int | str)} if options else {}
    settings: dict[str, Any] = {}
    for option, text in options.items():
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{name} has no option {option!r}; {hint}options: {', '.join(known)}")
        try:
            settings[option] = type(known[option])(text)
        except ValueError:
            raise ValueError(f"option {option} of {name} must be a whole number, got {text!r:.60}") from None
    return spec.make(**settings)
