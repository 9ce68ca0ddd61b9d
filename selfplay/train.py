"""How a run begins and how it is resumed, with all that has to hold before it does. What it then goes through: `loop.py`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparring.agents.names import checkpoint_model, model_card, pinned
from sparring.agents.player_card import PlayerCard, load_card
from sparring.envs.words import list_names

from . import checkpoint
from .config import TrainConfig
from .loop import Loop
from .measuring import Evaluation
from .method import method_of
from .plan import bytes_needed
from .progress import Progress, Quiet
from .ranks import Ranks, join
from .run_folder import RunFolder, next_free, provenance, require_space, to_json, write_text
from .session import Session, prepare
from .settings import load, to_yaml
from .summary import Summary


def train(
    config: TrainConfig,
    *,
    evaluations: Sequence[Evaluation] = (),
    progress: Progress | None = None,
    measured: Mapping[str, Any] | None = None,
) -> Summary:
    """Starts a run and carries it to its end.

    evaluations: measured before the first round and after the last. measured: what another run with the same first model, seed and
    evaluations measured of it before training, so that it need not be measured again. Raises ValueError for what the configuration has
    wrong, before anything is written, and Stopped when it is interrupted.
    """
    ranks = join(config.device)
    config = ranks.from_main(lambda: _pinned(config))
    out = config.out or ranks.from_main(lambda: next_free(Path("runs"), Path(config.model.partition("@")[0]).name))
    config = replace(config, out=out)
    ranks.from_main(lambda: RunFolder.require_free(out))
    method = method_of(config)
    session = prepare(config)
    _require_replayable(session, ranks)

    def begin() -> None:
        require_space(out, bytes_needed(session))
        about = provenance(config.seed, model=config.model, inputs=_inputs(config), processes=ranks.size)
        folder = RunFolder.create(out, to_yaml(config), about)
        if measured is not None:
            write_text(folder.measurement(0), to_json(measured))

    ranks.from_main(begin)
    return Loop(session, method, RunFolder(out), evaluations, progress or Quiet(), ranks).run(None)


def resume(path: Path, *, evaluations: Sequence[Evaluation] = (), progress: Progress | None = None) -> Summary:
    """Continues a run after its last round whose checkpoint is whole; a run that had ended is measured and summarised again where that is
    missing. Raises ValueError for a folder that is no run, and where its first model is damaged."""
    folder = RunFolder.open(path)
    config = replace(load(folder.config, TrainConfig), out=path)
    _require_inputs(folder, config)
    method = method_of(config)
    ranks = join(config.device)
    progress = progress or Quiet()

    def last_whole() -> int | None:
        done, damages = checkpoint.newest(path)
        for damage in damages:
            progress.say(damage)
        return done

    def clear() -> None:
        folder.sweep()
        folder.forget_after(-1 if done is None else done, keep_games=True)
        checkpoint.prune(path, config.keep)

    done = ranks.from_main(last_whole)
    first_card(path, config)
    # Of a LoRA run the weights stay those of round 0; its adapter is read when the learner has been made.
    session = prepare(config, weights=None if done is None else checkpoint_model(path, 0 if config.learner.lora_rank else done))
    _require_replayable(session, ranks)
    require_space(path, bytes_needed(session, done or 0))
    # Nothing is forgotten before all that could be missing is there.
    ranks.from_main(clear)
    return Loop(session, method, folder, evaluations, progress, ranks).run(done)


def _pinned(config: TrainConfig) -> TrainConfig:
    """The same with names that mean the same when the run is resumed."""
    return replace(config, model=pinned(config.model), opponent=config.opponent and pinned(config.opponent))


def first_card(run: Path, config: TrainConfig) -> PlayerCard:
    """The card of the model that a run began with: of its first checkpoint, else of the model that it was told. Raises ValueError where
    neither is there."""
    first = checkpoint_model(run, 0)
    if first.is_dir():
        return load_card(first)
    try:
        return model_card(config.model)
    except ValueError as error:
        raise ValueError(f"{run} has no checkpoint yet and needs the model that it is to begin with: {error}") from error


def _require_replayable(session: Session, ranks: Ranks) -> None:
    """Raises ValueError for a game that several processes cannot share."""
    if ranks.size > 1 and not session.game.replayable:
        raise ValueError(
            f"{session.config.game} cannot be played again from its utterances, which processes exchange: run it as one process"
        )


def _inputs(config: TrainConfig) -> dict[str, str]:
    """The files that a run reads, with their SHA-256; several lists of words count as one file."""
    lists = [Path(path) for name in list_names(config.words) for path in dict.fromkeys((name, name.rpartition("@")[0])) if path]
    paths = {"words": lists, "prompts": [Path(config.prompts)], "replay": [Path(config.replay)]}
    if config.imitation.data is not None:
        paths["imitation.data"] = [config.imitation.data]
    found = {
        name: b"".join(path.read_bytes() for path in of if path.is_file()) for name, of in paths.items() if any(p.is_file() for p in of)
    }
    return {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}


def _require_inputs(folder: RunFolder, config: TrainConfig) -> None:
    """Raises ValueError where a file that the run read at its beginning is gone or has changed."""
    before = json.loads((folder.path / "provenance.json").read_text(encoding="utf-8"))["inputs"]
    now = _inputs(config)
    for name, digest in before.items():
        if now.get(name) != digest:
            file = config.imitation.data if name == "imitation.data" else getattr(config, name)
            raise ValueError(f"{file}, the file of {name}, is gone or has changed since the run began")
