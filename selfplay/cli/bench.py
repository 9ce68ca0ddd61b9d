"""sparring bench: the everyday reasoning test."""

from dataclasses import dataclass
from typing import Any

from .common import console, parse, positional, print_json
from .matches import bar_of

LEAST = 4
"""Questions per task to compare two models by: all of fewer may be about one word, and then there is no interval."""


@dataclass(frozen=True)
class Bench:
    """The everyday reasoning test of one model, or of two with their paired difference.

    Examples:
      sparring bench mini@imitation
      sparring bench runs/x@0 runs/x@latest --json
    """

    models: tuple[str, ...]
    """One model's name, or two, the second compared with the first question by question."""
    items: int = 200
    """Questions per task."""
    seed: int = 0
    """Decides the questions."""
    device: str = "auto"
    """auto, cpu, cuda."""
    json: bool = False
    """Print one JSON object instead."""


def bench(arguments: list[str]) -> int:
    """The everyday reasoning test of a model, or of two with their paired difference."""
    options: Bench = parse(positional(Bench), "sparring bench", arguments)

    from sparring.agents.names import is_model, model_location

    if options.items < 1:
        raise ValueError(f"--items must be at least 1, got {options.items}")
    if not 1 <= len(options.models) <= 2:
        raise ValueError(f"give one model, or two to compare; got {len(options.models)}")
    if len(options.models) == 2 and options.items < LEAST:
        raise ValueError(f"--items must be at least {LEAST} to compare two models, got {options.items}")
    for spec in options.models:
        if not is_model(spec):
            raise ValueError(f"{spec} is no model; the test scores answers by a model's probabilities")
        model_location(spec)

    from sparring.agents.models.loading import load_language_model
    from sparring.benchmarks.reasoning import everyday

    asked = sum(len(item.prompts) for item in everyday.items(options.items, options.seed))
    results = []
    for spec in options.models:
        model = load_language_model(model_location(spec), name=spec, device=options.device)
        with bar_of(json=options.json).phase(f"bench {spec}", asked, "answers") as advance:
            results.append(everyday.evaluate(model, options.items, options.seed, progress=advance))
    found: dict[str, Any] = {"models": options.models, "before": results[0]["tasks"]}
    if len(results) > 1:
        found |= {"after": results[1]["tasks"], "difference": everyday.compare(results[0], results[1])}
    if options.json:
        print_json(found)
    else:
        from sparring.agents.names import short_name

        from ..report.tables import evaluation_table

        names = tuple(map(short_name, options.models))
        console().print(evaluation_table("everyday", found, names if len(set(names)) == len(names) else options.models))
    return 0
