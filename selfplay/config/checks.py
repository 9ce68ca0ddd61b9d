"""What is wrong with the values of a dataclass, one by one: ranges that stand at the field, and numbers that
are none.

    rounds: int = field(default=8, metadata=at_least(0))

Uses the standard library alone, so that a command line that only shows its help stays quick.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_RANGE = "range"
_Range = tuple[Callable[[float], bool], str]
"""Whether a number is allowed, and what is, in words."""


def at_least(low: float, most: float = math.inf) -> Mapping[str, _Range]:
    """Metadata of a field whose numbers are in [low, most]."""
    words = f"at least {low:g}" if most == math.inf else f"{low:g} to {most:,.0f}"
    return {_RANGE: (lambda value: low <= value <= most, words)}


def above(low: float, most: float = math.inf) -> Mapping[str, _Range]:
    """Metadata of a field whose numbers are in (low, most]."""
    words = f"above {low:g}" if most == math.inf else f"above {low:g} and at most {most:g}"
    return {_RANGE: (lambda value: low < value <= most, words)}


def below(high: float) -> Mapping[str, _Range]:
    """Metadata of a field whose numbers are in [0, high)."""
    return {_RANGE: (lambda value: 0 <= value < high, f"in [0, {high:g})")}


def wrong_values(config: Any, prefix: str = "") -> list[str]:
    """A sentence for each number of a dataclass, nested ones too, that is NaN, infinite or out of its
    field's range."""
    wrong = []
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            wrong += wrong_values(value, f"{name}.")
            continue
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
        allowed, words = field.metadata.get(_RANGE, (lambda _: True, ""))
        for number in inner:
            if isinstance(number, float) and not math.isfinite(number):
                wrong.append(f"{name} must be a finite number, got {number}")
            elif isinstance(number, int | float) and not allowed(number):
                wrong.append(f"{name} must be {words}, got {number}")
    return wrong


def near(given: str, known: Iterable[str]) -> str:
    """'did you mean X?' where a known name is near, and all known names."""
    names = list(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
