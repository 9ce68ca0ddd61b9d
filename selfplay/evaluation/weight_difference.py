"""A model as a small file: how it differs from another one, in steps of one part in fifteen of the largest change of each row.

Applied, it gives the same float32 weights on every machine: each is one product and one sum of stored numbers.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

STEPS = 7
"""Largest number of steps up or down; a number takes four bits."""
_STEP, _COUNT = ".step", ".count"

Weights = Mapping[str, NDArray[np.float32]]
"""Tensors by name."""


def write_difference(base: Weights, changed: Weights, path: Path) -> None:
    """Writes what turns the weights of `base` roughly into those of `changed`. Raises ValueError for models of another shape."""
    if {k: v.shape for k, v in base.items()} != {k: v.shape for k, v in changed.items()}:
        raise ValueError("only models of one shape differ by a file of differences")
    stored: dict[str, NDArray[np.generic]] = {}
    for name, before in base.items():
        change = (changed[name] - before).reshape(before.shape[0], -1)
        step = np.abs(change).max(axis=1, keepdims=True) / STEPS
        counts = np.rint(np.divide(change, step, out=np.zeros_like(change), where=step > 0)).astype(np.int8)
        nibbles = np.append((counts + STEPS + 1).astype(np.uint8).ravel(), np.zeros(counts.size % 2, np.uint8))
        stored[name + _COUNT] = nibbles[::2] << 4 | nibbles[1::2]
        stored[name + _STEP] = step.astype(np.float32).ravel()
    save_file(stored, path)


def read_difference(base: Weights, path: Path) -> dict[str, NDArray[np.float32]]:
    """The weights that a file of differences makes of `base`. Raises ValueError where it is of another model."""
    made: dict[str, NDArray[np.float32]] = {}
    with safe_open(path, "numpy") as file:
        if set(file.keys()) != {name + end for name in base for end in (_STEP, _COUNT)}:
            raise ValueError(f"{path} holds no differences from this model")
        for name, before in base.items():
            packed, step = file.get_tensor(name + _COUNT), file.get_tensor(name + _STEP)
            if step.shape != before.shape[:1] or packed.shape != (-(-before.size // 2),):
                raise ValueError(f"{path} holds no differences from this model: {name} has another shape")
            nibbles = np.stack([packed >> 4, packed & 15], axis=1).ravel()[: before.size]
            counts = nibbles.astype(np.float32).reshape(len(step), -1) - np.float32(STEPS + 1)
            made[name] = (before.reshape(len(step), -1) + counts * step[:, None]).reshape(before.shape)
    return made
