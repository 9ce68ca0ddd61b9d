"""What the commands that play games share: options, games, players, words."""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sparring.agents.models.memory import MOST_GIB

from ..config.checks import above, at_least

if TYPE_CHECKING:
    from sparring.agents.core import Agent
    from sparring.agents.rollout import Episode
    from sparring.envs.core import Game

    from ..runtime.progress import Quiet, Shown


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """Options of every command that plays games."""

    game: str = "AdversarialTaboo"
    """AdversarialTaboo, AdversarialTaboo-DrawingOut, TwentyQuestions, TicTacToe, KuhnPoker, or a game of
    TextArena for two, textarena:ID (extra textarena)."""
    words: str | None = None
    """everyday (None), common, band:1000-5000, a file with one word a line; @train or @heldout behind it
    (sparring words --help); heldout alone is everyday@heldout. Not for games of TextArena, which have no
    secret words."""
    game_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the game, as max_turns=3 rule=family (docs/games.md)."""
    temperature: float = field(default=1.0, metadata=at_least(0))
    """Sampling temperature of models; 0 is greedy."""
    top_p: float = field(default=1.0, metadata=above(0, 1))
    """Models draw from the most probable tokens that together have this probability, in (0, 1]; 1 draws
    from all."""
    max_new_tokens: int | None = field(default=None, metadata=at_least(1))
    """Tokens of a model's longest utterance, at least 1; None: as many as the model was trained with, else
    256."""
    seed: int = 0
    """Decides words and what is said."""
    device: str = "auto"
    """auto, cpu, cuda."""
    max_memory: float = field(default=0.0, metadata=at_least(0, MOST_GIB))
    """GiB that the cached keys and values of local models may take, shared equally; 0 sets no bound. Less:
    fewer games at once, and talks computed again."""
    json: bool = False
    """Print one JSON object instead."""


def make(name: str, options: Mapping[str, str]) -> "Game":
    """A game by its name, with its options."""
    from sparring.envs.core import game_from_options
    from sparring.envs.games import registered as _games  # noqa: F401  registers the games

    return game_from_options(name, options)


def require_names(specs: Iterable[tuple[str, str]], game: "Game", words: Collection[str]) -> None:
    """Raises ValueError, before any model is loaded, for names that mean nothing, and for games that
    cannot be played about these words or by such players. specs: roles and the names of who is to play
    them."""
    from sparring.agents.names import is_model, model_card, resolve
    from sparring.envs.hosting.opponents import require_playable

    require_playable(game, {}, words)
    for role, spec in specs:
        if is_model(spec):
            model_card(spec)
        else:
            require_playable(game, {role: resolve(spec)}, words)


def agents_of(
    specs: Mapping[str, str],
    temperature: float,
    device: str,
    max_memory: float = 0.0,
    *,
    top_p: float = 1.0,
    max_new_tokens: int | None = None,
    models: MutableMapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Agents by role (or by name); names of one model share it. max_memory: GiB for the caches of all
    local models, 0 for no bound. max_new_tokens: None for each model's own number. models: loaded ones,
    see `resolve`."""
    from sparring.agents.core import Sampling
    from sparring.agents.names import is_model, local_location, model_card, resolve

    local = {place for place in map(local_location, specs.values()) if place is not None}
    memory = int(max_memory * 2**30 / len(local)) if max_memory and local else None
    loaded = {} if models is None else models
    agents = {}
    # Those without a model first: what is wrong with them is then said at once.
    for key, spec in sorted(specs.items(), key=lambda item: is_model(item[1])):
        longest = max_new_tokens or (model_card(spec).max_new_tokens if is_model(spec) else 1)
        sampling = Sampling(temperature, top_p=top_p, max_new_tokens=longest)
        role = key if key in ("attacker", "defender") else None
        agents[key] = resolve(spec, role=role, sampling=sampling, device=device, models=loaded, max_memory=memory)
    return {key: agents[key] for key in specs}


def players(specs: Mapping[str, str], options: MatchOptions, models: MutableMapping[str, Any] | None = None) -> dict[str, Any]:
    """The agents of a command, see `agents_of`."""
    return agents_of(
        specs,
        options.temperature,
        options.device,
        options.max_memory,
        top_p=options.top_p,
        max_new_tokens=options.max_new_tokens,
        models=models,
    )


def occupancy(agents: "Iterable[Agent]", games: int) -> "Callable[[], float] | None":
    """How full the batches of the local models among some players have been since they were loaded, as a
    share of the games in play; None where there are none."""
    models: list[Any] = [getattr(agent, "model", None) for agent in agents]
    loops = list({id(model): model.loop for model in models if hasattr(model, "loop")}.values())

    def filled() -> float:
        room = sum(loop.counters.steps * min(games, loop.max_rows) for loop in loops)
        return sum(loop.counters.sampled for loop in loops) / room if room else 0.0

    return filled if loops else None


@contextmanager
def shown(bar: "Quiet | Shown", title: str, total: int, agents: "Iterable[Agent]") -> "Iterator[Callable[[Episode], None]]":
    """A bar while games are played and a line with their rates at the end; gives what is to be called with
    every game as it ends."""
    from ..runtime.progress import Rates, counted

    rates = Rates()
    with bar.phase(title, total) as advance:

        def both(steps: int = 1, tokens: int = 0, occupancy: float | None = None) -> None:
            rates.add(steps, tokens, occupancy)
            advance(steps, tokens, occupancy)

        yield counted(both, occupancy=occupancy(agents, min(256, total)))
    bar.say(f"{title}: {rates.steps} games, {rates}")


def bar_of(*, json: bool) -> "Quiet | Shown":
    """The progress that a command shows on standard error; with --json on terminals only."""
    from ..runtime.progress import Quiet, Shown

    return Quiet() if json and not sys.stderr.isatty() else Shown()


def listed(game: "Game", words: str | None) -> tuple[str, ...]:
    """What games are about: the words of a list, the everyday world's if None; nothing in a game without a
    secret."""
    from sparring.envs.words.lists import SPLITS, word_list

    if game.secret_roles:
        return word_list(f"everyday@{words}" if words in SPLITS else words or "everyday")
    refuse_words(game, words)
    return ("",)


def refuse_words(game: "Game", words: str | None) -> None:
    if words is not None:
        raise ValueError(f"{game.name} has no secret words; leave out --words {words}")


def secrets(game: "Game", words: str | None, seed: int) -> list[str]:
    """What games are about, in an order that the seed draws."""
    import random

    about = listed(game, words)
    return random.Random(seed).sample(about, k=len(about))
