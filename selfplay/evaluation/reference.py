"""The reference pool: frozen players, words and seeds, against which any model gets one number per role that can be cited.

The number is the mean of the points of its games (a win 1, a tie 0.5, a loss 0) against all players of the pool, each on every word once,
with a 95 % interval over words. Opponents play in float32 on the CPU, each batch is about the games against one of them in one role, and
nothing is kept from one to the next, so the same model gets the same number on every machine, but for a near tie between two tokens that
another processor rounds the other way.

The pool's manifest holds digests of all that decides a game: rules, judge, words, weights, games that players without a model play, and
how the judge hears some sentences.
Where one has changed it is another pool, and its name says so.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparring.agents.core import Agent, Sampling
from sparring.agents.models.manifest import model_digests
from sparring.agents.names import model_location
from sparring.agents.players.player_card import MINI_CARD
from sparring.agents.players.scripted import ScriptedAgent
from sparring.agents.players.simple import RandomAgent, SilentAgent
from sparring.agents.rollout import Episode, play_all
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.judge.verdict import verdict
from sparring.envs.judge.word_forms import table_hash
from sparring.envs.world.facts import everyday, word_groups

from ..storage.sealed import digest
from .game_results import GameResult, result_of
from .statistics import paired_difference
from .win_rates import schedule

NAME = "sparring-ref-1"
DIGEST = "f6b046d1d9461d22c9d026231567d83890e448e914956c8e86ff59ba4f565c7c"
"""Of the manifest of the pool of that name."""
SEED, TEMPERATURE = 20261201, 0.5
BASE = "mini@imitation"
TRAINED = {"mini:group": "group.safetensors", "mini:spag-corrected": "spag-corrected.safetensors"}
"""Players that self-play trained from mini@imitation (`selfplay/mini/reference.py`), by file of differences."""

SENTENCES = (
    *(
        "I know the word! It is {}.",
        "Alright, based on the clues, I know the word! It is **{}**!",
        "I know the word! It is {}, or a horse.",
    ),
    *(
        "I know the word! It is a horse.",
        "I know the word! It is not {}.",
        "Do I know the word? It is {}.",
        "She says: I know the word! It is {}.",
    ),
    *('"I know the word! It is ..." is what you say when you are sure.', "If I know the word, it is {}.", "I know the word! It is {}s."),
    *(
        "I think I know the word! It is {} :D",
        "[Defender] I know the word! It is {}!",
        "<i>smiles</i> I know the word! It is {}!",
        "Is it {}?",
    ),
    *(
        "It is {}.",
        "My guess: {}",
        "They say it is {}, I doubt it.",
        "I would never say {}.",
        "Two {}s, please.",
        "{}ing is fun.",
        "un{}able",
        "{}",
    ),
    *("A {}-like thing.", "I give up.", "Hm.", "", "...", "The word before {} was better. I know the word! It is {}."),
)
"""What the judge is asked about, with words of the pool in them, so that a judge that hears otherwise is known."""


def pool() -> dict[str, Callable[[], Agent]]:
    """How the players of the pool are made, by name."""
    return {
        "silent": SilentAgent,
        "random": lambda: RandomAgent(everyday().nouns),
        "scripted": ScriptedAgent,
        "scripted:asker,careful": lambda: ScriptedAgent("asker", "careful"),
        BASE: partial(_model, None),
        **{name: partial(_model, file) for name, file in TRAINED.items()},
    }


def manifest() -> dict[str, Any]:
    """What decides the games of the pool, as it is here."""
    game = AdversarialTaboo()
    return {
        "game": {"name": game.name, "version": game.version, "config": game.config()},
        "judge": table_hash(),
        "words": digest(list(words())),
        "seed": SEED,
        "temperature": TEMPERATURE,
        "players": list(pool()),
        "weights": {BASE: digest(model_digests(Path(model_location(BASE)))), **{name: _sha256(_file(f)) for name, f in TRAINED.items()}},
        "games": digest(_games_without_a_model()),
        "verdicts": digest(_verdicts()),
    }


def pool_name() -> str:
    """The name under which results may be cited: NAME where the manifest is what it was, else one that says that it is not."""
    here = digest(manifest())
    return NAME if here == DIGEST else f"{NAME}-changed-{here[:8]}"


def words() -> tuple[str, ...]:
    """The held-out nouns of the everyday world, which no part of the pool was trained to play about."""
    return word_groups().heldout


def measure(agent: Agent, progress: Callable[[Episode], None] | None = None) -> dict[str, Any]:
    """The numbers of an agent, as JSON: by role the score with its interval, and the scores against each player of the pool.

    Void games are left out; where there are any, the numbers are not to be cited, and `void` says how many.
    """
    game = AdversarialTaboo()
    results: dict[tuple[str, str], list[GameResult]] = {}
    for name, make in pool().items():
        opponent = make()
        for number, role in enumerate(game.roles):
            agents = {r: agent if r == role else opponent for r in game.roles}
            for player in agents.values():
                getattr(getattr(player, "model", None), "forget_caches", lambda: None)()
            matches = schedule(agents, game, words(), len(words()), SEED, f"{name}/{role}/")
            players = ("model", name) if number == 0 else (name, "model")
            played = play_all(matches, concurrency=len(words()), progress=progress)
            results[name, role] = [result for e in played if not (result := result_of(e, players)).void]
    found: dict[str, Any] = {"void": len(pool()) * 2 * len(words()) - sum(map(len, results.values()))}
    for number, role in enumerate(game.roles):
        games = {name: results[name, role] for name in pool()}
        points = [(r.word, r.score(number)) for of in games.values() for r in of]
        score = _score(points)
        against = {name: fmean(r.score(number) for r in of) if of else None for name, of in games.items()}
        found[role] = {**score, "against": against}
    return found


def _score(points: list[tuple[str, float]]) -> dict[str, float | int | None]:
    """The mean of points with its interval over words."""
    if len({word for word, _ in points}) < 2:
        return {"score": None, "low": None, "high": None, "games": len(points)}
    about, values = zip(*points, strict=True)
    mean, low, high, *_ = paired_difference(np.zeros(len(values)), values, about)
    return {"score": mean, "low": low, "high": high, "games": len(values)}


def _model(file: str | None) -> Agent:
    """mini@imitation, changed by a file of differences where one is given."""
    import torch

    from sparring.agents.models.loading import load_language_model
    from sparring.agents.players.model_agent import ModelAgent

    from .weight_difference import read_difference

    model = load_language_model(model_location(BASE), name=BASE, device="cpu", dtype=torch.float32)
    if file is not None:
        changed = read_difference(weights_of(model.model), _file(file))
        with torch.no_grad():
            for name, weight in model.model.named_parameters():
                weight.copy_(torch.from_numpy(changed[name]))
        model.set_version(file)
    sampling = Sampling(TEMPERATURE, max_new_tokens=MINI_CARD.max_new_tokens)
    return ModelAgent(model, MINI_CARD.prompts, sampling, name=file or BASE)


def weights_of(model: Any) -> dict[str, NDArray[np.float32]]:
    """The weights of a model of transformers by name, tied ones once."""
    return {name: weight.detach().numpy() for name, weight in model.named_parameters()}


def _games_without_a_model() -> list[Any]:
    """Games of the pool's players without a model, as they end by today's rules; equal on every machine."""
    game, made = AdversarialTaboo(), pool()
    ended = []
    for one, other in (("scripted", "scripted:asker,careful"), ("random", "scripted"), ("scripted", "random")):
        agents = dict(zip(game.roles, (made[one](), made[other]()), strict=True))
        for e in play_all(schedule(agents, game, words(), len(words()), SEED, f"{one}/{other}/")):
            ended.append([e.match.id, e.outcome.winner, e.outcome.reason, [u.text for u in e.state.utterances]])
    return ended


def _verdicts() -> list[Any]:
    """How the judge hears sentences about some words of the pool, said in either role."""
    game = AdversarialTaboo()
    cases = product(words()[::5], game.roles, SENTENCES)
    heard = (verdict(text.replace("{}", word), role, word, game.rule) for word, role, text in cases)
    return [ruling and vars(ruling) for ruling in heard]


def _file(name: str) -> Path:
    return Path(str(files("sparring.agents") / "mini" / "reference" / name))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def line(result: Mapping[str, Any]) -> str:
    """The numbers in the form in which they are cited."""
    parts = []
    for role in ("attacker", "defender"):
        of = result[role]
        parts.append(f"{role} -" if of["score"] is None else f"{role} {of['score']:.3f} ({of['low']:.3f} to {of['high']:.3f})")
    return f"{result['pool']}: {', '.join(parts)}"
