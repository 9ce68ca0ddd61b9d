"""sparring reference: how strong a model is against the reference pool."""

from dataclasses import dataclass
from pathlib import Path

from .common import console, print_json
from .matches import bar_of, require_names, shown
from .options import parse, positional


@dataclass(frozen=True)
class Reference:
    """One number per role that can be cited: points a game of any agent against the pool sparring-ref-1, on
    fixed words with fixed seeds.

    docs/tournaments.md says what is in the pool and when numbers can be compared.

    Examples:
      sparring reference mini
      sparring reference runs/x@latest --out reference.json
    """

    model: str
    """Any agent but a person."""
    device: str = "cpu"
    """cpu, cuda, auto; of the model that is measured. Weights are used in float32."""
    json: bool = False
    """Print one JSON object instead."""
    out: Path | None = None
    """A new file for the numbers, as JSON."""


def reference(arguments: list[str]) -> int:
    """Numbers to be cited: an agent against frozen players, on fixed words."""
    options: Reference = parse(positional(Reference), "sparring reference", arguments)

    from sparring.envs.games.taboo import AdversarialTaboo

    from ..evaluation.reference import NAME, TEMPERATURE, line, measure, pool, pool_name, words

    game = AdversarialTaboo()
    if options.model == "human":
        raise ValueError("the reference pool is for players that need no keyboard; use sparring play")
    if options.out is not None and options.out.exists():
        raise ValueError(f"{options.out} exists; choose a new file")
    require_names([(role, options.model) for role in game.roles], game, words())

    from sparring.agents.core import Sampling
    from sparring.agents.names import is_model, model_card, pinned, resolve

    from ..evaluation.tournament_folder import entrant
    from ..report.tables import plain_table
    from ..storage.folder import to_json, write_text
    from ..storage.provenance import provenance

    spec = pinned(options.model)
    longest = model_card(spec).max_new_tokens if is_model(spec) else 1
    agent = resolve(spec, sampling=Sampling(TEMPERATURE, max_new_tokens=longest), device=options.device, dtype="float32")
    with shown(bar_of(json=options.json), "reference", 2 * len(pool()) * len(words()), [agent]) as progress:
        found = measure(agent, progress)
    result = {"schema": 1, "pool": pool_name(), "model": spec, "weights": entrant(spec).weights, **found, "provenance": provenance(0)}
    if options.out is not None:
        write_text(options.out, to_json(result))
    if options.json:
        print_json(result)
        return 0
    points = {(name, role): result[role]["against"][name] for name in pool() for role in game.roles}
    rows = [(name, *("-" if points[name, role] is None else f"{points[name, role]:.3f}" for role in game.roles)) for name in pool()]
    console().print(plain_table("Points a game (a win 1, a tie 0.5)", ("against", *(f"as {role}" for role in game.roles)), rows))
    console().print(line(result))
    if result["pool"] != NAME:
        console().print(f"This is not {NAME}: its judge, words, rules or players have changed, so these numbers compare with no others.")
    if result["void"]:
        console().print(
            f"{result['void']} games are void (the model's server failed, or a prompt was too long): do not cite these numbers."
        )
    return 0
