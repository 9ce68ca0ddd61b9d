"""Settings as text: frozen dataclasses to YAML and back, nested, with every wrong key or value named.

Works for any dataclass of plain fields (numbers, texts, paths, choices, tuples, dataclasses); knows no field
of any of them.
"""

import dataclasses
import math
import reprlib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from sparring.envs.text_files import hidden_character, read_text
from sparring.envs.views import brief

from .checks import near

T = TypeVar("T")

LONGEST_FILE = 1 << 16
"""Bytes of the longest file of settings."""
MOST_VALUES = 10_000
"""Values that a file of settings may hold."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = 80


def to_yaml(config: Any) -> str:
    """The configuration as YAML, fields in their order."""
    return yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)


def from_yaml(text: str, kind: type[T]) -> T:
    """A configuration from YAML. Raises ValueError for an unknown key, naming the nearest one, and for a
    value of the wrong kind."""
    data = _yaml(text)
    built: T = _build({} if data is None else data, kind, "")
    return built


def _yaml(text: str) -> Any:
    """The value of a YAML text. Raises ValueError where it is none, or holds more than settings do."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None and _size(node, {}) > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values, those that aliases repeat among them")
        return None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"this is not YAML: {place}{brief(error.problem or error)}") from error
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:  # the library's own, for odd tags
        raise ValueError(f"this is not YAML for settings: {brief(error)}") from error


def _size(node: yaml.Node, sizes: dict[int, float]) -> float:
    """How many values a node holds when every alias is written out; infinite where it holds itself."""
    if id(node) not in sizes:
        sizes[id(node)] = math.inf
        inner = [n for pair in node.value for n in pair] if isinstance(node, yaml.MappingNode) else node.value
        sizes[id(node)] = 1 + (0 if isinstance(node, yaml.ScalarNode) else sum(_size(n, sizes) for n in inner))
    return sizes[id(node)]


def _quoted(value: Any) -> str:
    """A value for a message: one short line, whatever it holds."""
    try:
        return brief(_SHORT.repr(value), 100)
    except ValueError:
        return "a number of thousands of digits"


def load(path: Path, kind: type[T]) -> T:
    """The settings of a YAML file. Raises ValueError, naming the file."""
    if not path.is_file():
        raise ValueError(f"{path}: no such configuration file")
    try:
        return from_yaml(read_text(path, LONGEST_FILE), kind)
    except ValueError as error:
        text = f"{path}: " * (str(path) not in str(error)) + f"{error}"
        raise ValueError(text) from error


def flat(config: Any) -> dict[str, Any]:
    """The configuration by dotted names, with plain values; tuples as text with commas."""
    return dict(_flattened(_plain(config), ""))


def _flattened(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, ",".join(map(str, value)) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return dict(value) if isinstance(value, Mapping) else value


def _build(data: Any, kind: Any, where: str) -> Any:
    """`data` as a value of type `kind`; where: the dotted name of the field, for messages."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(data, Mapping):
            raise ValueError(f"{where or 'the configuration'} must be a mapping of keys to values, got {_quoted(data)}")
        hints = typing.get_type_hints(kind)
        fields = {f.name: hints[f.name] for f in dataclasses.fields(kind) if f.init}
        for key in data:
            if key not in fields:
                inside = f" in {where}" if where else ""
                raise ValueError(f"unknown key {_quoted(key)}{inside}; {near(_quoted(key).strip(chr(39)), fields)}")
        dotted = f"{where}." if where else ""
        return kind(**{key: _build(value, fields[key], f"{dotted}{key}") for key, value in data.items()})
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in args:
            return None
        return _build(data, next(a for a in args if a is not type(None)), where)
    if origin is Literal:
        if data not in args:
            raise ValueError(f"{where} must be one of {', '.join(map(str, args))}, got {_quoted(data)}")
        return data
    if origin is Mapping:
        if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
            raise ValueError(f"{where} must be a mapping of names to values, got {_quoted(data)}")
        return {key: _build(_text(value) if args[1] is str else value, args[1], f"{where}.{key}") for key, value in data.items()}
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise ValueError(f"{where} must be a list, got {_quoted(data)}")
        inner = [args[0]] * len(data) if args[-1:] == (Ellipsis,) else list(args)
        if len(inner) != len(data):
            raise ValueError(f"{where} must have {len(inner)} entries, got {_quoted(data)}")
        return tuple(_build(v, k, where) for v, k in zip(data, inner, strict=True))
    return _scalar(data, kind, where)


def _text(value: Any) -> Any:
    """A number or truth value as a text: options are texts, whatever YAML takes them for."""
    return str(value) if isinstance(value, int | float) else value


def _scalar(data: Any, kind: Any, where: str) -> Any:
    if kind is Path:
        if not isinstance(data, str):
            raise ValueError(f"{where} must be a path, got {_quoted(data)}")
        return Path(data)
    if kind is float and isinstance(data, str):
        # YAML 1.1 reads 1e-6 as a string: it wants 1.0e-6.
        try:
            return float(data)
        except ValueError:
            pass
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError:
            raise ValueError(f"{where} must be a number that fits, got {_quoted(data)}") from None
    if kind is str and isinstance(data, str) and (hidden := hidden_character(data)):
        raise ValueError(f"{where} holds {hidden}, which cannot be seen; remove it")
    if kind in (int, float, str, bool) and type(data) is not kind:
        raise ValueError(f"{where} must be {kind.__name__}, got {_quoted(data)}")
    return data
