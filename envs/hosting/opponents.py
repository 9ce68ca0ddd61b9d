"""The other player of a single-player environment: a function, an agent, or an agent's name.

Agents live in another package. Here they are known by their methods alone (`player`, `act`), and names are
resolved through the entry-point group `sparring.agents`.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from itertools import count
from typing import Any, Protocol

from ..core import VOID, Game, Observation, Task
from ..games.prompts import TABOO_PROMPTS, load_prompts
from ..views import Renderer

Messages = Sequence[Mapping[str, str]]
Function = Callable[[Messages], str]
Opponent = Function | str | Any
"""A function from chat messages ({"role", "content"}) to an utterance, an agent, or an agent's name."""

_numbers = count()


class OpponentFailedError(Exception):
    """The opponent's infrastructure failed; the game is void."""


Reply = tuple[str, bool]
"""An utterance, and True if it was cut at the speaker's length limit."""
TurnCoroutine = Generator[Any, Any, Reply]
"""One turn as a coroutine: it yields requests to backends, is sent their replies, and returns the reply of
the player."""


class Player(Protocol):
    """One opponent in one game."""

    def turn(self, observation: Observation) -> TurnCoroutine: ...

    def close(self) -> None: ...


def chat(renderer: Renderer, observation: Observation) -> list[dict[str, str]]:
    """A role's view as chat messages in plain dicts."""
    return [{"role": role, "content": content} for role, content in renderer.render(observation)]


def resolve_opponent(opponent: Opponent, role: str) -> Opponent:
    """The agent of a name; anything else unchanged. Raises ValueError for an unknown name, TypeError for an
    object that cannot play."""
    if isinstance(opponent, str):
        resolvers = list(entry_points(group="sparring.agents", name="resolve"))
        if not resolvers:
            raise ValueError(f"the agent name {opponent!r} cannot be resolved: sparring is not installed (pip install -e .)")
        return resolvers[0].load()(opponent, role=role)
    if not callable(opponent) and not hasattr(opponent, "player"):
        raise TypeError(f"an opponent is a function of the messages, an agent or an agent's name, got {opponent!r}")
    return opponent


def renderer_of(prompts: str, roles: Iterable[str], opponent: Any = None) -> Renderer:
    """The prompts of an environment, with texts for these roles. prompts: "card" for the prompts that its
    opponent was trained with where that is a model, else the full rules; other names as in `load_prompts`."""
    if prompts != "card":
        return load_prompts(prompts, roles)
    renderer: Renderer | None = getattr(opponent, "renderer", None)
    return renderer or TABOO_PROMPTS


def require_playable(game: Game, players: Mapping[str, Any], words: Iterable[str]) -> None:
    """Raises ValueError where a word cannot be the secret of a game, or a player cannot play its role about
    it. players: by role. Games without a secret ignore words.

    A player with a method `require(role, words)` raises ValueError itself; any other player can play
    everything.
    """
    secrets = tuple(words) if game.secret_roles else ()
    for word in secrets:
        game.start(Task(word, word, word, 0))
    for role, player in players.items():
        require = getattr(player, "require", None)
        if require is not None:
            require(role, secrets)


def make_player(opponent: Any, game: Game, role: str, seed: int, renderer: Renderer) -> Player:
    """A player of one game for an opponent."""
    if hasattr(opponent, "player"):
        return _AgentPlayer(opponent.player(game, role, f"env-{next(_numbers)}:{role}", seed))
    return _FunctionPlayer(opponent, renderer)


class _FunctionPlayer:
    def __init__(self, function: Function, renderer: Renderer) -> None:
        self.function = function
        self.renderer = renderer

    def turn(self, observation: Observation) -> TurnCoroutine:
        text = self.function(chat(self.renderer, observation))
        if not isinstance(text, str):
            raise TypeError(f"the opponent function must return a str, got {type(text).__name__}")
        return text, False
        yield  # a coroutine that never asks

    def close(self) -> None:
        pass


class _AgentPlayer:
    def __init__(self, player: Any) -> None:
        self.player = player

    def turn(self, observation: Observation) -> TurnCoroutine:
        reply = yield from self.player.act(observation)
        if reply.finish == "error":
            raise OpponentFailedError(f"the opponent failed; the game is {VOID}")
        return reply.text, reply.finish == "length"

    def close(self) -> None:
        self.player.close()


def speak(turns: Sequence[TurnCoroutine]) -> list[Reply | OpponentFailedError]:
    """The replies of several turns that are played at once: requests to one model form one batch. A turn that
    failed has its error in place of a reply."""
    results: dict[int, Reply | OpponentFailedError] = {}
    waiting: dict[tuple[int, str], int] = {}
    backends: dict[int, Any] = {}

    def advance(number: int, reply: Any) -> None:
        try:
            request = turns[number].send(reply)
        except StopIteration as stop:
            results[number] = stop.value
        except OpponentFailedError as error:
            results[number] = error
        else:
            backends[id(request.backend)] = request.backend
            try:
                request.backend.submit(request)
            except OpponentFailedError as error:
                results[number] = error
            else:
                waiting[id(request.backend), request.stream] = number

    for number in range(len(turns)):
        advance(number, None)
    while waiting:
        for key, backend in list(backends.items()):
            if any(owner == key for owner, _ in waiting):
                for request, reply in backend.poll():
                    advance(waiting.pop((key, request.stream)), reply)
    return [results[number] for number in range(len(turns))]
