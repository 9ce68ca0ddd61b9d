"""A Gymnasium space of any Unicode text.

`gymnasium.spaces.Text` is limited to a finite character set; language models are not.
"""

from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np

_RANGES = ((0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x4E00, 0x4EFF), (0x1F600, 0x1F64F))
"""Character ranges of `sample`: printable ASCII, Latin, Greek, Cyrillic, some Han, some emoji."""


class UnicodeText(gymnasium.Space[str]):
    """All strings of at most max_length characters that UTF-8 can encode (no lone surrogates)."""

    def __init__(self, max_length: int, *, seed: int | np.random.Generator | None = None) -> None:
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}")
        self.max_length = max_length
        super().__init__(dtype=str, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A string of up to 64 characters. Masks are not supported."""
        if mask is not None or probability is not None:
            raise ValueError("UnicodeText cannot be sampled with a mask")
        length = int(self.np_random.integers(1, min(64, self.max_length) + 1))
        ranges = self.np_random.integers(0, len(_RANGES), size=length)
        return "".join(chr(int(self.np_random.integers(low, high + 1))) for low, high in (_RANGES[r] for r in ranges))

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_length and not any(0xD800 <= ord(c) < 0xE000 for c in x)

    def to_jsonable(self, sample_n: Iterable[str]) -> list[Any]:
        return list(sample_n)

    def from_jsonable(self, sample_n: list[Any]) -> list[str]:
        return [str(sample) for sample in sample_n]

    def __repr__(self) -> str:
        return f"UnicodeText({self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and other.max_length == self.max_length

    def __hash__(self) -> int:
        return hash(("UnicodeText", self.max_length))
