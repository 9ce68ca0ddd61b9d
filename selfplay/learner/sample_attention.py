"""Attention of samples that lie one after the other in one sequence: each token to those of its own sample, with no mask of [T, T].

Letters: T = tokens of the sequence, n = samples, W = tokens of the longest sample, Hq and H = heads of queries and of keys, D = head size,
Q = queries of a sample, L = keys of a sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sparring.agents.engine.attention import attention

from .batch import packed_places

MOST_PADDING = 1.25
"""Samples with shared beginnings attend together where the longest has at most so many times the queries of the shortest."""


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


class PackedSamples:
    """Samples that share nothing. lengths [n]: their tokens.

    They are padded to the longest for attention, which is causal, so that no sample looks at its padding.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.samples, self.width = len(lengths), max(lengths)
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
        """[1, H, T, D] to [n, H, W, D]; padding repeats the sample's first token."""
        flat = x[0] if self.even else x[0].index_select(1, self._padded)
        return flat.view(len(flat), self.samples, self.width, -1).transpose(0, 1)

    def _pack(self, x: Tensor) -> Tensor:
        """[n, H, W, D] to [1, T, H, D]."""
        flat = x.transpose(1, 2).reshape(self.samples * self.width, x.shape[1], -1)
        return (flat if self.even else flat.index_select(0, self._real))[None]

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """[W, W]."""
        if (window, dtype) not in self._masks:
            places = torch.arange(self.width, device=self._real.device)
            self._masks[window, dtype] = _additive(places, places[:, None], window, dtype)
        return self._masks[window, dtype]


class SharedSamples:
    """Samples that share first tokens with the sample before them. lengths [n]: their tokens; starts [n]: how many of them are shared, less
    than all. The sequence holds the others.

    Keys and values are spread out to whole samples; queries are the tokens that a sample does not share, in groups of samples that have
    about as many of them.
    """

    def __init__(self, lengths: Sequence[int], starts: Sequence[int], device: torch.device) -> None:
        self.samples, self.width, self.starts = len(lengths), max(lengths), tuple(starts)
        places = packed_places(lengths, starts)
        positions = [np.arange(start, n) for n, start in zip(lengths, starts, strict=True)]
        spread = [np.pad(of_sample, (0, self.width - len(of_sample)), mode="edge") for of_sample in places]
        self.spread = torch.from_numpy(np.concatenate(spread)).to(device)
        self.unshared = torch.from_numpy(np.concatenate([i * self.width + at for i, at in enumerate(positions)])).to(device)
        groups = _alike([len(of_sample) for of_sample in positions])
        self._groups = [_Queries(group, [positions[i] for i in group], [places[i] for i in group], device) for group in groups]
        real = torch.cat([group.real for group in self._groups]).nonzero()[:, 0]
        self._answers = real[torch.cat([group.index for group in self._groups])[real].argsort()]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
        """q [1, Hq, T, D], k and v [1, H, T, D]; returns [1, T, Hq, D]."""
        keys, values = (_Spread.apply(x[0], self) for x in (k, v))  # type: ignore[no-untyped-call]
        answers = []
        for group in self._groups:
            queries = q[0].index_select(1, group.index).view(q.shape[1], len(group.numbers), -1, q.shape[-1]).transpose(0, 1)
            k_seen, v_seen = (x[group.numbers, :, : group.keys] for x in (keys, values))
            answers.append(rule.attend(queries, k_seen, v_seen, group.mask(rule.window, q.dtype)).transpose(1, 2).flatten(0, 1))
        return torch.cat(answers).index_select(0, self._answers)[None]


class _Queries:
    """The queries of m samples, padded to Q. numbers [m]: of the samples; positions: per sample, those of its queries; places: per sample,
    the indices of all its tokens in the sequence.

    index [m * Q]: where the tokens of the queries are in the sequence; real [m * Q]: False where a query is padding; keys: how many tokens
    of a sample are seen at most.
    """

    def __init__(
        self, numbers: Sequence[int], positions: Sequence[NDArray[np.int64]], places: Sequence[NDArray[np.int64]], device: torch.device
    ) -> None:
        counts = [len(of_sample) for of_sample in positions]
        padded = [np.pad(of_sample, (0, max(counts) - len(of_sample)), mode="edge") for of_sample in positions]
        index = np.concatenate([of_sample[at] for of_sample, at in zip(places, padded, strict=True)])
        self.numbers = torch.tensor(numbers, device=device)
        self.index = torch.from_numpy(index).to(device)
        self.real = (torch.arange(max(counts)) < torch.tensor(counts)[:, None]).flatten().to(device)
        self.keys = max(map(len, places))
        self._at = torch.from_numpy(np.stack(padded)).to(device)
        self._masks: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """[m, 1, Q, keys]."""
        if (window, dtype) not in self._masks:
            places = torch.arange(self.keys, device=self._at.device)
            self._masks[window, dtype] = _additive(places, self._at[:, None, :, None], window, dtype)
        return self._masks[window, dtype]


def _alike(sizes: Sequence[int]) -> list[list[int]]:
    """Numbers of samples, in groups of about equal sizes."""
    groups: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if groups and sizes[i] <= MOST_PADDING * sizes[groups[-1][0]]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


class _Spread(torch.autograd.Function):
    """Keys or values [H, T, D] of a sequence as those of its samples [n, H, W, D]. Gradients of shared tokens are added up sample by sample
    from the last on, so that the sum is rounded alike every time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, samples: SharedSamples) -> Tensor:
        ctx.samples = samples
        return x.index_select(1, samples.spread).view(len(x), samples.samples, samples.width, -1).transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        samples: SharedSamples = ctx.samples
        summed = gradient.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        for i in range(samples.samples - 1, 0, -1):
            shared = samples.starts[i]
            summed[:, i - 1, :shared] += summed[:, i, :shared]
        return summed.flatten(1, 2).index_select(1, samples.unshared), None
