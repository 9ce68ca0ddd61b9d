"""The help of `sparring train`, in two tiers: what people change, and every setting."""

from dataclasses import make_dataclass
from typing import Annotated

from ..config.config import TrainConfig
from .options import documented, parse, switches, with_values

COMMON = (
    *("model", "game", "words", "rounds", "games_per_round", "method", "role", "opponent", "temperature", "max_new_tokens"),
    *("seed", "out", "device", "learner.lr", "learner.lora_rank", "learner.kl"),
)
"""The settings that --help shows; --help-all shows all."""
DESCRIPTION = """Self-play training. A setting that is not given is that of the preset.

Examples:
  sparring train --preset full --seed 1 --out runs/full-1
  sparring train --model ./my-model --words words.txt --rounds 3 --learner.lr 1e-6
  sparring train --print-config > mine.yaml; sparring train --config mine.yaml --learner.lr 1e-4
  sparring train --resume runs/full-1 --rounds 20
"""


def show_help(program: str, start: type, *, every: bool) -> None:
    """Prints the help and ends the process. start: the options that are no settings. every: all settings
    instead of the common ones."""
    import tyro

    unnamed = tyro.conf.arg(name="")
    settings = with_values(documented(TrainConfig, None if every else COMMON))
    parts = [("start", Annotated[switches(documented(start)), unnamed]), ("settings", Annotated[settings, unnamed])]
    parse(make_dataclass("Train", parts, frozen=True), program, ["--help"], description=DESCRIPTION)
