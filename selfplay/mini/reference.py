"""Makes the two trained players of the reference pool: four rounds of self-play from mini@imitation each, kept as differences from it.

    python -m sparring.selfplay.mini.reference --out made

Another processor or version rounds otherwise, and training carries that on: the files that are shipped were made once and are what counts.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from sparring.agents.models.loading import load_language_model
from sparring.agents.names import checkpoint_model, model_location

from ..config.presets import preset
from ..evaluation.reference import BASE, TRAINED, weights_of
from ..evaluation.weight_difference import write_difference
from ..run.train import train
from ..runtime.progress import Shown

PRESETS = {"mini:group": "quick", "mini:spag-corrected": "spag-corrected"}
"""How each is trained."""


@dataclass(frozen=True)
class ReferenceConfig:
    """How the players are made."""

    out: Path
    """A folder for the runs and for the files of differences."""
    rounds: int = 4
    """Rounds of self-play."""
    seed: int = 0
    """Decides words, games and the order of samples."""


def main(config: ReferenceConfig) -> None:
    for name, file in TRAINED.items():
        settings = preset(PRESETS[name], BASE)
        evaluation = replace(settings.evaluation, games=0, control=False)
        run = config.out / Path(file).stem
        train(replace(settings, rounds=config.rounds, seed=config.seed, evaluation=evaluation, out=run), progress=Shown())
        pack(checkpoint_model(run, config.rounds), config.out / file)


def pack(model: Path, file: Path) -> None:
    """Writes how the model of a folder differs from mini@imitation."""
    base, changed = (load_language_model(place, device="cpu", dtype="float32").model for place in (model_location(BASE), model))
    write_difference(weights_of(base), weights_of(changed), file)


if __name__ == "__main__":
    main(tyro.cli(ReferenceConfig, description=__doc__))
