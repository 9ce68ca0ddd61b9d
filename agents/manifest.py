"""Manifests: the SHA-256 of every file of a checkpoint, by which what is damaged, missing or put there later is refused.

Hashing takes about a second for a gigabyte. Who writes checkpoints, and what they hold: `selfplay/checkpoint.py`.
"""

import hashlib
import json
import re
from collections.abc import Collection
from pathlib import Path

MANIFEST = "manifest.json"


def digests(folder: Path) -> dict[str, str]:
    """What a manifest holds: of every file in a folder its SHA-256, by its name there."""
    return {str(path.relative_to(folder)): _digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(folder: Path, under: str = "", optional: Collection[str] = ()) -> dict[str, str]:
    """The manifest of a folder: digests by file. under: only files whose names begin so are looked at. optional: names that need not be in
    it. Names that begin with a dot are of what was never finished. Raises ValueError where a file is missing, not what was written, or not
    in the manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("not what was written")
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise ValueError(f"{folder} is no whole checkpoint: its {MANIFEST} cannot be read ({error})") from error
    for name, wanted in manifest.items():
        path = folder / name
        if name.startswith(under) and (not path.is_file() or _digest(path) != wanted):
            raise ValueError(f"{path} is damaged or missing")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        known = str(name) in manifest or str(name) in (MANIFEST, *optional) or any(part.startswith(".") for part in name.parts)
        if path.is_file() and str(name).startswith(under) and not known:
            raise ValueError(f"{path} is none of the checkpoint's files: it was put there later; move it away")
    return manifest


def verify_model(folder: Path) -> None:
    """Raises ValueError where a model folder is that of a run's checkpoint, but not what the run wrote. Other folders have no manifest."""
    checkpoint = folder.absolute().parent
    if folder.name == "model" and re.fullmatch(r"round-\d+", checkpoint.name) and checkpoint.parent.name == "checkpoints":
        verified(checkpoint, "model/")
