"""How many parameters a model has, told from the headers of its files, without loading it."""

import json
import struct
from math import prod
from pathlib import Path

from .gguf_file import is_gguf, read_gguf

LARGEST_HEADER = 100 << 20
"""Bytes; the format of safetensors allows no more."""


def parameters_at(location: str | Path) -> int | None:
    """The parameters of a GGUF file, or of a model folder's safetensors files; None where that cannot be told, as of a model that is not on
    this machine. Tied weights count once. Raises ValueError where a GGUF file is damaged."""
    path = Path(location)
    if is_gguf(path) and path.is_file():
        return sum(tensor.size for tensor in read_gguf(path).tensors)
    try:
        counts = [_in_safetensors(file) for file in path.glob("*.safetensors")]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error, RecursionError):
        return None
    return sum(counts) if counts else None


def _in_safetensors(path: Path) -> int:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > LARGEST_HEADER:
            raise ValueError(f"{path}: no safetensors header")
        header = json.loads(file.read(length))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
