"""Manifests: the SHA-256 of every file of a checkpoint, by which damaged, missing and added files are
refused.

Hashing takes about a second per gigabyte. Writing checkpoints: `selfplay/storage/checkpoint.py`.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath

MANIFEST = "manifest.json"
NOTES = ("", ".txt", ".md", ".rst", ".log", ".bak", ".old", ".orig", ".tmp", ".swp", ".ini", ".db", ".html", ".pdf", ".png", ".jpg")
"""Endings of files that no loader reads as part of a model; a tokenizer's .txt files are exceptions."""
READ_BY_NAME = ("vocab.txt", "merges.txt")


def digests(folder: Path) -> dict[str, str]:
    """The content of a manifest: the SHA-256 of every file in a folder, by its name there."""
    return {str(path.relative_to(folder)): _digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def model_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of the files of a model folder that loaders read: those directly in it, except notes and
    hidden files."""
    names = (path for path in sorted(folder.glob("*")) if not path.name.startswith(".") and not harmless(PurePath(path.name)))
    return {path.name: _digest(path) for path in names if path.is_file()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(folder: Path, under: str = "", optional: Collection[str] = ()) -> dict[str, str]:
    """The verified manifest of a folder: digests by file. under: only names with this prefix are checked.
    optional: names that may be missing. Hidden names are unfinished files, and notes and copies of users are
    ignored. Raises ValueError for a file that is missing, changed, or absent from the manifest though a
    loader could read it."""
    manifest = read_manifest(folder)
    for name, wanted in manifest.items():
        path = folder / name
        if name.startswith(under) and (not path.is_file() or _digest(path) != wanted):
            raise ValueError(f"{path} is damaged or missing")
    for other in foreign(folder, manifest, optional):
        relative = other.relative_to(folder)
        if str(relative).startswith(under) and not harmless(relative):
            raise ValueError(f"{other} is none of the checkpoint's files: it was put there later; move it away")
    return manifest


def read_manifest(folder: Path) -> dict[str, str]:
    """The manifest of a folder. Raises ValueError for an unreadable one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("not what was written")
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError) as error:
        raise ValueError(f"{folder} is no whole checkpoint: its {MANIFEST} cannot be read ({error})") from error
    return manifest


def foreign(folder: Path, manifest: Collection[str], optional: Collection[str] = ()) -> Iterator[Path]:
    """The files in a checkpoint's folder that are not its own, except hidden ones."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        known = str(name) in manifest or str(name) in (MANIFEST, *optional)
        if path.is_file() and not known and not any(part.startswith(".") for part in name.parts):
            yield path


def harmless(name: PurePath) -> bool:
    """Whether no loader looks for a file of this name in a model folder: a note, or a copy as people and file
    managers make them."""
    copied = any(" " in part or "(" in part or part.endswith("~") or "copy" in part.lower() for part in name.parts)
    return copied or (name.suffix.lower() in NOTES and name.name not in READ_BY_NAME)


def verify_model(folder: Path) -> None:
    """Raises ValueError for the model folder of a run's checkpoint that is not what the run wrote. Other
    folders have no manifest and pass."""
    checkpoint = folder.absolute().parent
    if folder.name == "model" and re.fullmatch(r"round-\d+", checkpoint.name) and checkpoint.parent.name == "checkpoints":
        verified(checkpoint, "model/")
