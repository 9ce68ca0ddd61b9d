"""sparring bench: the everyday reasoning test."""

from dataclasses import dataclass
from typing import Any

from .cli_common import console, parse, positional, print_json

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

    from sparring.agents.language_model import load_language_model
    from sparring.agents.names import is_model, model_place
    from sparring.benchmarks.everyday import everyday_evaluation

    if options.items < 1:
        raise ValueError(f"--items must be at least 1, got {options.items}")
    evaluation = everyday_evaluation(options.items, options.seed)
    results = []
    if not 1 <= len(options.models) <= 2:
        raise ValueError(f"give one model, or two to compare; got {len(options.models)}")
    if len(options.models) == 2 and options.items < LEAST:
        raise ValueError(f"--items must be at least {LEAST} to compare two models, got {options.items}")
    for spec in options.models:
        if not is_model(spec):
            raise ValueError(f"{spec} is no model; the test scores answers by a model's probabilities")
        model = load_language_model(model_place(spec), name=spec, device=options.device)
        results.append(evaluation.measure(model))
    found: dict[str, Any] = {"models": options.models, "before": evaluation.brief(results[0])}
    if len(results) > 1:
        found |= {"after": evaluation.brief(results[1]), "difference": evaluation.compare(results[0], results[1])}
    if options.json:
        print_json(found)
    else:
        from .tables import evaluation_table

        console().print(evaluation_table("everyday", found))
    return 0
