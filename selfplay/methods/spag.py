"""SPAG as published (arXiv 2404.10642 and its code), errors and all; its optimiser begins anew in every round.

Options: corrections, names with commas of the errors to correct, as token-ratio,detached-kl; drop_reasons."""

from ..config.config import TrainConfig
from ..objectives.spag import corrections_named
from ..run.method import Method
from ..run.recipe import DROP_REASONS, options_of
from .spag_corrected import winners


def method(config: TrainConfig) -> Method:
    names = [name for name in options_of(config, "corrections", DROP_REASONS).get("corrections", "").split(",") if name]
    return winners(config, corrections_named(names), "spag", per_round=True)
