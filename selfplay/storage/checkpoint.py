"""Checkpoints that are whole or absent: written aside, hashed, flushed to the disk, then renamed into place.

The checkpoint of a round is a folder round-NNN: model/ (a plain transformers folder; of a LoRA run after round 0 the adapter alone),
state.json (round, baselines, counts), history.json (what the run wrote beside it until then), trainer.pt (optimiser, schedule, and the
float32 weights of a model that has others; of the last two rounds) and manifest.json with a SHA-256 of every file. An update that was
stopped in its middle is a folder update-NNN, or update-control, with the weights in its trainer.pt. What a name begins with a dot was never
finished, or is being deleted; damaged-round-NNN is what is left of one.

Nothing that a checkpoint holds is ever executed: weights are safetensors, trainer.pt is read by torch's restricted unpickler.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from sparring.agents.models.language_model import LanguageModel, write_model
from sparring.agents.models.manifest import MANIFEST, digests, foreign, read_manifest, verified
from sparring.agents.names import checkpoint_folder, checkpoint_model, checkpoint_rounds
from sparring.agents.players.player_card import PlayerCard

from .folder import flush, remove, to_json, write_text
from .locks import unfinished
from .sealed import read_json

TRAINER, STATE, HISTORY = "trainer.pt", "state.json", "history.json"


def save(
    run: Path,
    round_number: int,
    model: LanguageModel,
    card: PlayerCard,
    trainer: Mapping[str, Any],
    state: Mapping[str, Any],
    history: Mapping[str, Any] | None = None,
) -> None:
    """Writes the checkpoint of a round; one that exists already is replaced. history: what the run wrote beside its checkpoints (JSON).
    Raises OSError where the disk is full; nothing has changed then."""

    def fill(folder: Path) -> None:
        write_model(model, card, folder / "model", checkpoint_model(run, 0))
        torch.save(dict(trainer), folder / TRAINER)
        if history:
            (folder / HISTORY).write_text(to_json(history), encoding="utf-8")

    _commit(checkpoint_folder(run, round_number), fill, {"round": round_number, **state})


def save_update(run: Path, update: int | str, trainer: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Writes what an update that was stopped goes on from. update: of which round, or a control's name. trainer: with the weights. Raises
    as `save`."""
    _commit(update_folder(run, update), lambda folder: torch.save(dict(trainer), folder / TRAINER), {"round": update, **state})


def update_folder(run: Path, update: int | str) -> Path:
    """Where the update of a round, or of a control, lies that was stopped in its middle."""
    name = update if isinstance(update, str) else f"{update:03d}"
    return checkpoint_folder(run, 0).with_name(f"update-{name}")


def _commit(folder: Path, fill: Callable[[Path], None], state: Mapping[str, Any]) -> None:
    aside = unfinished(folder)
    try:
        aside.mkdir(parents=True)
        _written(fill, aside)
        (aside / STATE).write_text(to_json(state), encoding="utf-8")
        (aside / MANIFEST).write_text(to_json(digests(aside)), encoding="utf-8")
        for path in (*aside.rglob("*"), aside):
            flush(path)
        remove(folder)
        os.rename(aside, folder)
        for path in (folder.parent, folder.parent.parent):
            flush(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _written(fill: Callable[[Path], None], folder: Path) -> None:
    """Model and optimiser. Raises OSError where a file cannot be written, whatever the library that wrote it raises."""
    try:
        fill(folder)
    except Exception as error:
        # tokenizers raises plain Exceptions.
        if isinstance(error, (RuntimeError, SafetensorError)) or type(error) is Exception:
            raise OSError(f"the checkpoint in {folder.parent} cannot be written (is the disk full?): {error}") from error
        raise


def verify(folder: Path, *, update: bool = False) -> dict[str, str]:
    """The manifest of a checkpoint's folder. update: of one without a model. Raises ValueError where a file of it is missing, not what was
    written, or not in the manifest; a pruned optimiser may still be there."""
    manifest = verified(folder, optional=(TRAINER,))
    wanted = {STATE: STATE in manifest}
    if not update:
        wanted |= {"model/config.json": "model/config.json" in manifest}
        wanted |= {"weights": any(name.startswith("model/") and name.endswith(".safetensors") for name in manifest)}
    missing = [name for name, there in wanted.items() if not there]
    if missing:
        raise ValueError(f"{folder} is no whole checkpoint: its {MANIFEST} names no {', no '.join(missing)}")
    return manifest


def load(folder: Path, *, update: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """(trainer, state) of a checkpoint's folder; an empty trainer where it was pruned. Raises as `verify`, and where the optimiser
    cannot be read."""
    trainer: dict[str, Any] = {}
    if TRAINER in verify(folder, update=update):
        try:
            trainer = torch.load(folder / TRAINER, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError) as error:
            raise ValueError(f"{folder / TRAINER} holds what no checkpoint does: {str(error).splitlines()[0]}") from error
    return trainer, json.loads((folder / STATE).read_text(encoding="utf-8"))


def partial_state(run: Path, round_number: int) -> dict[str, Any]:
    """The state alone of a round's update that was stopped in its middle; empty where there is none, or it cannot be read."""
    return _state(update_folder(run, round_number))


def saved_by(run: Path, done: int | None) -> int | None:
    """How many processes saved last what a run goes on from: the update after round `done` that was stopped in its middle, else that round;
    None where nothing was saved."""
    last = partial_state(run, 0 if done is None else done + 1) or ({} if done is None else _state(checkpoint_folder(run, done)))
    processes: int | None = last.get("processes")
    return processes


def _state(folder: Path, name: str = STATE) -> dict[str, Any]:
    """The state (or another JSON file) of a checkpoint's folder; empty where there is none, or it is not what was written."""
    file = folder / name
    try:
        if read_manifest(folder).get(name) != hashlib.sha256(file.read_bytes()).hexdigest():
            return {}
        return read_json(file)
    except (OSError, ValueError):
        return {}


def history(run: Path, round_number: int) -> dict[str, Any]:
    """The history that was saved with a round; empty where there is none, or it cannot be read."""
    return _state(checkpoint_folder(run, round_number), HISTORY)


def notes(run: Path) -> list[Path]:
    """What lies in the checkpoints of a run and is none of their files."""
    found: list[Path] = []
    for number in checkpoint_rounds(run):
        with suppress(ValueError):
            folder = checkpoint_folder(run, number)
            found += foreign(folder, read_manifest(folder), (TRAINER,))
    return found


def newest(run: Path, last: int | None = None) -> tuple[int | None, list[str]]:
    """The last round (up to `last`) whose checkpoint is whole, None where there is none, and what is to be said of later ones: they are
    damaged, and renamed to damaged-round-NNN. Raises ValueError where round 0, which every run goes back to, is damaged while later rounds
    are whole."""
    said: list[str] = []
    for number in reversed([n for n in checkpoint_rounds(run) if last is None or n <= last]):
        folder = checkpoint_folder(run, number)
        damage = _damage(folder)
        if damage is None:
            first = _damage(checkpoint_folder(run, 0))
            if first is not None:
                raise ValueError(f"{first}; the run cannot go on without its first model, though later ones are whole")
            return number, said
        kept = folder.with_name(f"damaged-{folder.name}")
        remove(kept)
        os.rename(folder, kept)
        said.append(f"{damage}: round {number} is done again (what is left of its checkpoint is in {kept})")
    return None, said


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None where nothing is."""
    try:
        verify(folder)
    except ValueError as error:
        return str(error)
    return None


def prune(run: Path, keep: int) -> None:
    """Drops the optimisers of all rounds but the last two, and, where keep is not 0, the models of all rounds but the first, the last and
    `keep` before it (at least one, so that a damaged last round is no end)."""
    rounds = checkpoint_rounds(run)
    gone = rounds[1 : max(1, len(rounds) - 1 - keep)] if keep else ()
    for number in rounds[:-2]:
        folder = checkpoint_folder(run, number)
        try:
            manifest = read_manifest(folder)
        except ValueError:
            continue  # damaged, as whoever wants to use it will be told
        if number in gone and not list(foreign(folder, manifest, (TRAINER,))):
            remove(folder)
        elif (folder / TRAINER).exists():
            manifest.pop(TRAINER, None)
            # From here on the optimiser is no part of the checkpoint, whether or not its file is still there.
            write_text(folder / MANIFEST, to_json(manifest))
            (folder / TRAINER).unlink()
