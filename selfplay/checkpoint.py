"""Checkpoints that are whole or absent: written aside, hashed, flushed to the disk, then renamed into place.

A checkpoint is a folder: model/ (a plain transformers folder; of a LoRA run after round 0 the adapter alone), state.json (round, baselines,
counts), trainer.pt (optimiser; kept for the last two rounds) and manifest.json with a SHA-256 of every file.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from sparring.agents.language_model import LanguageModel
from sparring.agents.names import checkpoint_folder, checkpoint_model, checkpoint_rounds
from sparring.agents.player_card import PlayerCard

from .export import write_model
from .run_folder import to_json, write_text

TRAINER, STATE, MANIFEST = "trainer.pt", "state.json", "manifest.json"


def save(
    run: Path, round_number: int, model: LanguageModel, card: PlayerCard, trainer: Mapping[str, Any], state: Mapping[str, Any]
) -> None:
    """Writes the checkpoint of a round; one that exists already is replaced."""
    folder = checkpoint_folder(run, round_number)
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _write(model, card, trainer, aside)
        (aside / STATE).write_text(to_json({"round": round_number, **state}), encoding="utf-8")
        files = sorted(p for p in aside.rglob("*") if p.is_file())
        manifest = {str(p.relative_to(aside)): _sha256(p) for p in files}
        (aside / MANIFEST).write_text(to_json(manifest), encoding="utf-8")
        for path in (*files, aside / MANIFEST, aside / "model", aside):
            _flush(path)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(aside, folder)
        _flush(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(model: LanguageModel, card: PlayerCard, trainer: Mapping[str, Any], folder: Path) -> None:
    """Model and optimiser. Raises OSError where a file cannot be written, whatever the library that wrote it raises."""
    try:
        write_model(model, card, folder / "model", checkpoint_model(folder.parents[1], 0))
        torch.save(dict(trainer), folder / TRAINER)
    except (RuntimeError, SafetensorError) as error:
        raise OSError(f"the checkpoint in {folder.parent} cannot be written (is the disk full?): {error}") from error


def verify(run: Path, round_number: int) -> None:
    """Raises ValueError where a file of a checkpoint is missing or not what was written."""
    folder = checkpoint_folder(run, round_number)
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is no whole checkpoint: its {MANIFEST} cannot be read ({error})") from error
    for name, digest in manifest.items():
        path = folder / name
        if not path.is_file() or _sha256(path) != digest:
            raise ValueError(f"{path} is damaged or missing; delete {folder} to go on from the round before it")


def load(run: Path, round_number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(trainer, state) of a round; an empty trainer where it was pruned. Raises ValueError where a file is missing or not what was
    written."""
    verify(run, round_number)
    folder = checkpoint_folder(run, round_number)
    kept = (folder / TRAINER).is_file()
    trainer = torch.load(folder / TRAINER, map_location="cpu", weights_only=True) if kept else {}
    return trainer, json.loads((folder / STATE).read_text(encoding="utf-8"))


def prune(run: Path, keep: int) -> None:
    """Drops the optimisers of all rounds but the last two, and, where keep is not 0, the models of all rounds but the first, the last and
    `keep` before it (at least one, so that a damaged last round is no end)."""
    rounds = checkpoint_rounds(run)
    gone = rounds[1 : max(1, len(rounds) - 1 - keep)] if keep else ()
    for number in rounds[:-2]:
        folder = checkpoint_folder(run, number)
        if number in gone:
            shutil.rmtree(folder)
        elif (folder / TRAINER).exists():
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            manifest.pop(TRAINER, None)
            write_text(folder / MANIFEST, to_json(manifest))
            (folder / TRAINER).unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
