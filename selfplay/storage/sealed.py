"""JSON files of which is known whether they are what was written."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .folder import to_json, write_text

SEAL = "sha256"
"""The key under which the digest of all others is."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ValueError that names the file where it is missing or holds anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{path} cannot be read: {reason}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} cannot be read: it holds no JSON object")
    return found


def write_sealed(path: Path, data: Mapping[str, Any]) -> None:
    """Writes a JSON file that holds its own digest, so that `read_sealed` knows whether it is what was written."""
    rest = json.loads(to_json({name: value for name, value in data.items() if name != SEAL}))
    write_text(path, to_json({**rest, SEAL: digest(rest)}))


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` wrote, without the digest. Raises ValueError that names the file where it is missing or something else."""
    data = read_json(path)
    seal = data.pop(SEAL, None)
    if seal != digest(data):
        raise ValueError(f"{path} is not what the run wrote")
    return data


def digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
