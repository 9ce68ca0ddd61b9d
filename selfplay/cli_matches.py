"""What the commands that play games share: options, games, players, words."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparring.agents.memory import require_gib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sparring.agents.core import Agent
    from sparring.envs.core import Game


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """Options of every command that plays games."""

    game: str = "AdversarialTaboo"
    """AdversarialTaboo, AdversarialTaboo-DrawingOut, TwentyQuestions, or a game of TextArena for two, textarena:ID (extra textarena)."""
    words: str | None = None
    """everyday (None), common, band:1000-5000, a file with one word a line; @train or @heldout behind it (sparring words --help). Not for
    games of TextArena, which have no secret words."""
    max_turns: int | None = None
    """Utterances per player; None: the game's own number."""
    temperature: float = 1.0
    """Sampling temperature of models; 0 is greedy."""
    seed: int = 0
    """Decides words and what is said."""
    device: str = "auto"
    """auto, cpu, cuda."""
    max_memory: float = 0.0
    """GiB that the cached keys and values of local models may take, shared equally; 0 sets no bound. Less: fewer games at once, and talks
    computed again."""
    json: bool = False
    """Print one JSON object instead."""

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature cannot be negative, got {self.temperature}; 0 is greedy")
        require_gib("max_memory", self.max_memory)


def make(name: str, max_turns: int | None = None) -> "Game":
    """A game by its name. max_turns: None for its own number."""
    from sparring.envs import games as _games  # noqa: F401  registers the games
    from sparring.envs.core import make_game

    return make_game(name) if max_turns is None else make_game(name, max_turns=max_turns)


def agents_of(specs: dict[str, str], temperature: float, device: str, max_memory: float = 0.0) -> dict[str, Any]:
    """Agents by role (or by name); names of one model share it. max_memory: GiB for the caches of all local models, 0 for no bound."""
    from sparring.agents.core import Sampling
    from sparring.agents.names import is_model, local_place, model_card, resolve

    local = {place for place in map(local_place, specs.values()) if place is not None}
    memory = int(max_memory * 2**30 / len(local)) if max_memory and local else None
    loaded: dict[str, Any] = {}
    agents = {}
    for key, spec in specs.items():
        sampling = Sampling(temperature, max_new_tokens=model_card(spec).max_new_tokens) if is_model(spec) else None
        role = key if key in ("attacker", "defender") else None
        agents[key] = resolve(spec, role=role, sampling=sampling, device=device, models=loaded, max_memory=memory)
    return agents


def occupancy(agents: "Iterable[Agent]", games: int) -> "Callable[[], float] | None":
    """How full the batches of the local models among some players have been since they were loaded, as a share of the games in play;
    None where there are none."""
    from sparring.agents.language_model import LanguageModel, ModelAgent

    models = [agent.model for agent in agents if isinstance(agent, ModelAgent) and isinstance(agent.model, LanguageModel)]
    loops = list({id(model): model.loop for model in models}.values())

    def found() -> float:
        room = sum(loop.counters.steps * min(games, loop.max_rows) for loop in loops)
        return sum(loop.counters.sampled for loop in loops) / room if room else 0.0

    return found if loops else None


def listed(game: "Game", words: str | None) -> tuple[str, ...]:
    """What games are about: the words of a list, the everyday world's if None; nothing in a game without a secret."""
    from sparring.envs.words import word_list

    if game.informed:
        return word_list(words or "everyday")
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
