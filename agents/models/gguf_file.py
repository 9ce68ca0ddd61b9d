"""GGUF files, llama.cpp's format: their keys, what tensors they hold, and the values of a tensor. Knows nothing about models.

The header is read with bounds at every step, so that a damaged or hostile file ends in a ValueError, before any library that trusts files
sees it. Values are unpacked by the package gguf (extra `gguf`).
"""

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

SUFFIX = ".gguf"
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The format's numbers for types of values, and struct's letters."""


@dataclass(frozen=True)
class GGUFTensor:
    """shape: outermost dimension first, as torch has it. kind: ggml's number for the type. start: byte in the file's data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)


@dataclass(frozen=True)
class GGUFFile:
    """keys: the metadata, arrays as lists. data: byte where the data of tensors begins. size: bytes of the file."""

    path: Path
    keys: Mapping[str, Any]
    tensors: tuple[GGUFTensor, ...]
    data: int
    size: int

    @property
    def architecture(self) -> str:
        return str(self.keys["general.architecture"])

    def key(self, name: str, default: Any = None) -> Any:
        """A key of the architecture, as in context_length; where all layers have one value, that value."""
        value = self.keys.get(f"{self.architecture}.{name}", default)
        return value[0] if isinstance(value, list) and value and all(v == value[0] for v in value) else value


def is_gguf(path: str | Path) -> bool:
    """Whether a name is that of a GGUF file, by its ending."""
    return str(path).lower().endswith(SUFFIX) and not Path(path).is_dir()


def read_gguf(path: str | Path) -> GGUFFile:
    """Raises ValueError where the file is missing, no GGUF file, or cut off in its header."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError(f"{path} is no GGUF file: it does not begin with {_MAGIC.decode()}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                found = _parsed(path, _Cursor(data, len(_MAGIC)))
            except (struct.error, UnicodeDecodeError, _CutOffError) as error:
                raise ValueError(f"{path} is cut off or damaged in its header ({error}); get the file again") from error
    if not isinstance(found.keys.get("general.architecture"), str):
        raise ValueError(f"{path} does not say what model it holds: it has no key general.architecture")
    return found


class _CutOffError(Exception):
    pass


class _Cursor:
    """Reads values one after another."""

    def __init__(self, data: mmap.mmap, at: int) -> None:
        self.data = data
        self.at = at

    def numbers(self, letter: str, count: int) -> list[Any]:
        self._need(count * struct.calcsize(f"<{letter}"))
        values = list(struct.unpack_from(f"<{count}{letter}", self.data, self.at))
        self.at += count * struct.calcsize(f"<{letter}")
        return values

    def number(self, letter: str) -> Any:
        return self.numbers(letter, 1)[0]

    def string(self) -> str:
        length = self.number("Q")
        self._need(length)
        text = self.data[self.at : self.at + length].decode()
        self.at += length
        return text

    def value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise _CutOffError(f"there is no type of value {kind}")
        of, count = self.number("I"), self.number("Q")
        if of in _NUMBERS:
            return self.numbers(_NUMBERS[of], count)
        if of != _STRING:
            raise _CutOffError(f"an array of type {of} is no array of numbers or texts")
        self._need(8 * count)
        return [self.string() for _ in range(count)]

    def tensor(self) -> GGUFTensor:
        name = self.string()
        shape = self.numbers("Q", self.number("I"))
        return GGUFTensor(name, tuple(reversed(shape)), self.number("I"), self.number("Q"))

    def _need(self, count: int) -> None:
        if self.at + count > len(self.data):
            raise _CutOffError(f"byte {self.at + count} of {len(self.data)} is asked for")


def _parsed(path: Path, cursor: _Cursor) -> GGUFFile:
    version = cursor.number("I")
    if version not in _VERSIONS:
        raise ValueError(f"{path} is of version {version} of GGUF; versions {', '.join(map(str, _VERSIONS))} are read, convert it again")
    tensor_count, key_count = cursor.number("Q"), cursor.number("Q")
    keys = {}
    for _ in range(key_count):
        name = cursor.string()
        keys[name] = cursor.value(cursor.number("I"))
    tensors = tuple(cursor.tensor() for _ in range(tensor_count))
    alignment = keys.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise _CutOffError(f"general.alignment is {alignment!r}")
    return GGUFFile(path, keys, tensors, -(-cursor.at // alignment) * alignment, len(cursor.data))


def values_of(file: GGUFFile, tensor: GGUFTensor) -> np.ndarray[Any, Any]:
    """A tensor, float32. Raises ValueError for a type that cannot be unpacked."""
    gguf = package()
    kind, size = gguf.GGMLQuantizationType(tensor.kind), size_of(file, tensor)
    if not size:
        return np.zeros(tensor.shape, np.float32)
    data = np.memmap(file.path, np.uint8, "r", file.data + tensor.start, (size,))
    try:
        values = gguf.dequantize(data.reshape(*tensor.shape[:-1], -1), kind)
    except NotImplementedError as error:
        raise ValueError(f"{file.path}: its tensor {tensor.name!r} is of type {kind.name}, which the package gguf cannot unpack") from error
    return np.asarray(values, np.float32).reshape(tensor.shape)


def package() -> Any:
    """The package gguf. Raises ValueError where it is not installed."""
    try:
        import gguf
    except ImportError as error:
        raise ValueError("GGUF files need the extra gguf: pip install -e '.[gguf]' in the checkout") from error
    return gguf


def size_of(file: GGUFFile, tensor: GGUFTensor) -> int:
    """Bytes of a tensor in the file. Raises ValueError for a type that the package does not know."""
    gguf = package()
    try:
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(tensor.kind)]
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{file.path}: its tensor {tensor.name!r} is of type {tensor.kind}, which the package gguf does not know: "
            "pip install --upgrade gguf"
        ) from error
    if not tensor.shape or tensor.shape[-1] % block:
        raise ValueError(f"{file.path} is damaged: rows of its tensor {tensor.name!r} are no blocks of {block} values")
    return int(tensor.size // block * size)
