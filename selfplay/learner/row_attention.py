"""Attention of rows that lie one after the other in one sequence: each token to those of its own row, with no mask of [T, T].

Letters: T = tokens of the sequence, n = rows, W = tokens of the longest row, Hq and H = heads of queries and of keys, D = head size, Q =
queries of a row, L = keys of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sparring.agents.engine.attention import attention

from .batch import packed_places

MOST_PADDING = 1.25
"""Rows with shared beginnings attend together where the longest has at most so many times the queries of the shortest."""


@dataclass(frozen=True)
class Rule:
    """What a layer's attention asks for. window: of how many tokens, itself included, a token sees; scale: of scores, D ** -0.5 where None;
    softcap: of scores; sinks [Hq]: a further score of each head that stands for no token."""

    window: int | None
    scale: float | None
    softcap: float | None
    sinks: Tensor | None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """q [n, Hq, Q, D], k and v [n, H, L, D] to [n, Hq, Q, D]. mask, broadcast to [n, Hq, Q, L]: 0 where a query sees a key, -inf
        elsewhere; None: causal."""
        groups = q.shape[1] // k.shape[1]
        if self.softcap is None and self.sinks is None:
            causal = mask is None
            return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=self.scale, enable_gqa=groups > 1)
        assert mask is not None
        k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
        scale = q.shape[-1] ** -0.5 if self.scale is None else self.scale
        return attention(q, k, v, mask, scale=scale, softcap=self.softcap, sinks=self.sinks)


def _additive(places: Tensor, at: Tensor, window: int | None, dtype: torch.dtype) -> Tensor:
    """0 where a query at a position sees the key at a place, -inf elsewhere; the arguments broadcast to its shape."""
    hidden = places > at
    if window:
        hidden = hidden | (places <= at - window)
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, -torch.inf)


class Rows:
    """Rows that have nothing in common. lengths [n]: their tokens.

    They attend padded to the longest, to what is before a token alone, so that no row looks at its padding.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.rows, self.width = len(lengths), max(lengths)
        self.even = min(lengths) == self.width
        length = torch.tensor(lengths, device=device)
        steps = torch.arange(self.width, device=device)
        real = steps < length[:, None]
        begin = torch.cumsum(length, 0) - length
        self._padded = torch.where(real, begin[:, None] + steps, begin[:, None]).flatten()
        self._real = real.flatten().nonzero()[:, 0]
        self._masks: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def attend(self, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        """q [1, Hq, T, D], k and v [1, H, T, D]; returns [1, T, Hq, D]."""
        q, k, v = self._pad(q), self._pad(k), self._pad(v)
        window = rule.window if rule.window and rule.window < self.width else None
        plain = window is None and rule.softcap is None and rule.sinks is None
        return self._pack(rule.attend(q, k, v, None if plain else self._mask(window, q.dtype)))

    def _pad(self, x: Tensor) -> Tensor:
        """[1, H, T, D] to [n, H, W, D]; padding repeats the row's first token."""
        flat = x[0] if self.even else x[0].index_select(1, self._padded)
        return flat.view(len(flat), self.rows, self.width, -1).transpose(0, 1)

    def _pack(self, x: Tensor) -> Tensor:
        """[n, H, W, D] to [1, T, H, D]."""
        flat = x.transpose(1, 2).reshape(self.rows * self.width, x.shape[1], -1)
        return (flat if self.even else flat.index_select(0, self._real))[None]

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """[W, W]."""
        if (window, dtype) not in self._masks:
            places = torch.arange(self.width, device=self._real.device)
            self._masks[window, dtype] = _additive(places, places[:, None], window, dtype)
        return self._masks[window, dtype]


class SharedRows:
    """Rows of which some begin as the row before does. lengths [n]: their tokens; starts [n]: how many of them are those of the row before,
    less than all. The sequence holds the others.

    Keys and values are spread out to whole rows; queries are a row's own tokens, in groups of rows that have about as many.
    """

    def __init__(self, lengths: Sequence[int], starts: Sequence[int], device: torch.device) -> None:
        self.rows, self.width, self.starts = len(lengths), max(lengths), tuple(starts)
        places = packed_places(lengths, starts)
        padded = [np.pad(row, (0, self.width - len(row)), mode="edge") for row in places]
        self.spread = torch.from_numpy(np.concatenate(padded)).to(device)
        own = [np.arange(start, n) for n, start in zip(lengths, starts, strict=True)]
        self.holders = torch.from_numpy(np.concatenate([i * self.width + at for i, at in enumerate(own)])).to(device)
        groups = _alike([len(at) for at in own])
        self._groups = [_Queries(group, [own[i] for i in group], [places[i] for i in group], device) for group in groups]
        real = torch.cat([group.real for group in self._groups])
        where = torch.cat([group.index for group in self._groups])
        kept = real.nonzero()[:, 0]
        self._answers = kept[where[kept].argsort()]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        """q [1, Hq, T, D], k and v [1, H, T, D]; returns [1, T, Hq, D]."""
        keys, values = (_Spread.apply(x[0], self) for x in (k, v))
        answers = []
        for group in self._groups:
            query = q[0].index_select(1, group.index).view(q.shape[1], len(group.rows), -1, q.shape[-1]).transpose(0, 1)
            seen = (x[group.rows, :, : group.keys] for x in (keys, values))
            answer = rule.attend(query, *seen, group.mask(rule.window, q.dtype))
            answers.append(answer.transpose(1, 2).flatten(0, 1))
        return torch.cat(answers).index_select(0, self._answers)[None]


class _Queries:
    """The queries of m rows, padded to Q. own: per row the positions of its own tokens; places: per row where all of its tokens lie in the
    sequence.

    index [m * Q]: where the tokens of queries lie in the sequence; real [m * Q]: False where a query is padding; keys: how many tokens of a
    row are seen at most.
    """

    def __init__(
        self, rows: Sequence[int], own: Sequence[np.ndarray[Any, Any]], places: Sequence[np.ndarray[Any, Any]], device: torch.device
    ) -> None:
        width = max(map(len, own))
        at = np.stack([np.pad(positions, (0, width - len(positions)), mode="edge") for positions in own])
        self.rows = torch.tensor(rows, device=device)
        self.index = torch.from_numpy(np.concatenate([row[positions] for row, positions in zip(places, at, strict=True)])).to(device)
        self.real = (torch.arange(width) < torch.tensor(list(map(len, own)))[:, None]).flatten().to(device)
        self.keys = max(map(len, places))
        self._at = torch.from_numpy(at).to(device)
        self._masks: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """[m, 1, Q, keys]."""
        if (window, dtype) not in self._masks:
            places = torch.arange(self.keys, device=self._at.device)
            self._masks[window, dtype] = _additive(places, self._at[:, None, :, None], window, dtype)
        return self._masks[window, dtype]


def _alike(sizes: Sequence[int]) -> list[list[int]]:
    """Numbers of rows, in groups of about equal size."""
    groups: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if groups and sizes[i] <= MOST_PADDING * sizes[groups[-1][0]]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


class _Spread(torch.autograd.Function):
    """Keys or values [H, T, D] of a sequence as those of its rows [n, H, W, D]. Gradients of what rows have in common are added up row by
    row, from the last on, so that they are rounded alike every time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: SharedRows) -> Tensor:
        ctx.rows = rows
        return x.index_select(1, rows.spread).view(len(x), rows.rows, rows.width, -1).transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        rows: SharedRows = ctx.rows
        summed = gradient.transpose(0, 1).contiguous()
        if summed.data_ptr() == gradient.data_ptr():
            summed = summed.clone()
        for row in range(rows.rows - 1, 0, -1):
            start = rows.starts[row]
            if start:
                summed[:, row - 1, :start] += summed[:, row, :start]
        return summed.flatten(1, 2).index_select(1, rows.holders), None
