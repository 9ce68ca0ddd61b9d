"""sparring export: a model as a plain transformers folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .common import print_json
from .options import parse, positional


@dataclass(frozen=True)
class Export:
    """Writes a model as a plain transformers folder.

    Example:
      sparring export runs/x@latest ./my-model
    """

    model: str
    """A model's name, as in RUN@latest."""
    folder: Path
    """A new or empty folder."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Precision of the weights written; None as they are stored."""
    json: bool = False
    """Print one JSON object instead."""


def export(arguments: list[str]) -> int:
    """Writes a model as a plain transformers folder."""
    options: Export = parse(positional(Export), "sparring export", arguments)

    from sparring.agents.names import is_model, model_card, shell_path

    if is_model(options.model):
        model_card(options.model)

    from ..storage.export import export as write

    folder = write(options.model, options.folder, dtype=options.dtype)
    if options.json:
        print_json({"folder": str(folder)})
    else:
        print(f"wrote {folder}; load it with transformers, or: sparring play --opponent {shell_path(folder)}")
    return 0
