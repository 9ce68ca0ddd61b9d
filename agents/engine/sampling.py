"""Drawing tokens: pure, vectorised over rows, each row with its own settings and its own seed.

One uniform number per (seed, step) comes from a counter-based hash, so a row's draw does not depend on what else is in the batch. The token
is the inverse of the cumulative distribution at that number.

Shapes: n rows, V vocabulary entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..core import Sampling
from . import kernels

NEAR = 1e-5
"""A draw closer than this to an edge of its cumulative distribution (or a greedy choice closer to its rival's logit, or a token closer to
the edge of a filter) is a near-tie.
"""

_MASK64 = (1 << 64) - 1


def _signed(value: int) -> int:
    value &= _MASK64
    return value - (1 << 64) if value >= 1 << 63 else value


_GAMMA, _MIX1, _MIX2 = _signed(0x9E3779B97F4A7C15), _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX1
    x = (x ^ _shift(x, 27)) * _MIX2
    return x ^ _shift(x, 31)


def uniform(seed: Tensor, step: Tensor) -> Tensor:
    """float32 [n] strictly inside (0, 1), a pure function of seed and step (both int64 [n]): SplitMix64 in counter mode, 23 bits."""
    bits = _shift(_mix(_mix(seed + _GAMMA) + step * _GAMMA), 41)
    return (bits.to(torch.float32) + 0.5) * 2.0**-23


@dataclass(frozen=True)
class Settings:
    """Sampling settings of n rows. temperature is 1 where greedy is True. filtered: rows with any of top-k, top-p, min-p on, or None."""

    temperature: Tensor | None
    greedy: Tensor | None
    filtered: Tensor | None
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor

    @staticmethod
    def of(rows: Sequence[Sampling], device: torch.device | str = "cpu") -> "Settings":
        """Settings for rows; what no row uses is None and costs nothing."""
        greedy = [row.temperature <= 0 for row in rows]
        filtered = [i for i, row in enumerate(rows) if not greedy[i] and (row.top_k > 0 or row.top_p < 1 or row.min_p > 0)]
        plain = all(row.temperature == 1 or cold for row, cold in zip(rows, greedy, strict=True))

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        return Settings(
            temperature=None if plain else column([1.0 if cold else row.temperature for row, cold in zip(rows, greedy, strict=True)]),
            greedy=torch.tensor(greedy, device=device) if any(greedy) else None,
            filtered=torch.tensor(filtered, device=device) if filtered else None,
            top_k=torch.tensor([rows[i].top_k for i in filtered], dtype=torch.int64, device=device),
            top_p=column([rows[i].top_p for i in filtered]),
            min_p=column([rows[i].min_p for i in filtered]),
        )


class Drawn(NamedTuple):
    """ids int64 [n]; logprobs float32 [n], of the processed distribution (0 for a greedy choice, NaN where a
    row's logits are no numbers); near bool [n], True at a near-tie."""

    ids: Tensor
    logprobs: Tensor
    near: Tensor


def filter_logits(logits: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> tuple[Tensor, Tensor]:
    """logits [n, V] at their temperature, with -inf where top-k, then top-p, then min-p (each [n]; 0, 1, 0 are off) remove a token; and
    bool [n], True where a token is so near to the edge of a filter that float arithmetic might have tipped it.
    """
    ordered, order = torch.sort(logits, dim=-1, descending=True, stable=True)
    rank = torch.arange(logits.shape[-1], device=logits.device)
    limit = torch.where(top_k > 0, top_k, logits.shape[-1])[:, None]
    last, next_one = (ordered.gather(1, place.clamp(max=len(rank) - 1)) for place in (limit - 1, limit))
    near = ((last - next_one < NEAR) & (limit < len(rank)))[:, 0]
    ordered = ordered.masked_fill(rank >= limit, -torch.inf)
    probs = torch.softmax(ordered, dim=-1)
    # The smallest set that reaches top_p: a token goes when those before it already do. The first one always
    # stays.
    before, least = torch.cumsum(probs, dim=-1) - probs, min_p[:, None] * probs[:, :1]
    gone = (before >= top_p[:, None]) & (top_p < 1)[:, None]
    gone |= probs < least
    gone[:, 0] = False
    close = ((before - top_p[:, None]).abs() < NEAR) & (top_p < 1)[:, None]
    close |= ((probs - least).abs() < NEAR) & (min_p > 0)[:, None]
    near |= (close & (probs > NEAR))[:, 1:].any(dim=-1)
    return torch.full_like(logits, -torch.inf).scatter(1, order, ordered.masked_fill(gone, -torch.inf)), near


def draw(logits: Tensor, u: Tensor, settings: Settings) -> Drawn:
    """Draws one token per row from logits [n, V] at the uniform numbers u [n]."""
    scaled = logits.float()
    if settings.temperature is not None:
        scaled = scaled / settings.temperature[:, None]
    if kernels.AVAILABLE and scaled.device.type == "cpu" and settings.greedy is None and settings.filtered is None:
        return Drawn(*kernels.draw(scaled, u, NEAR))
    tipped = None
    if settings.filtered is not None:
        kept, tipped = filter_logits(scaled[settings.filtered], settings.top_k, settings.top_p, settings.min_p)
        scaled = scaled.index_copy(0, settings.filtered, kept)
    top = scaled.amax(dim=-1, keepdim=True)
    cdf = torch.cumsum((scaled - top).exp_(), dim=-1)
    total = cdf[:, -1:]
    # NOTE: u < 1 - 2**-24, so the target rounds to less than the total, and the token found has a positive
    # probability.
    target = u[:, None] * total
    # Logits that are no numbers have no distribution; the last id stands for one, with a log-probability of NaN.
    ids = torch.searchsorted(cdf, target, right=True).clamp_(max=scaled.shape[-1] - 1)
    logprobs = scaled.gather(1, ids) - top - total.log()
    below = torch.where(ids > 0, cdf.gather(1, (ids - 1).clamp_(min=0)), -torch.inf)
    near = torch.minimum(cdf.gather(1, ids) - target, target - below) < NEAR * total
    # A target at the very bottom or top is next to the outer edge of the distribution, where there is no
    # rival.
    ids, logprobs, near = ids[:, 0], logprobs[:, 0], near[:, 0]
    if settings.greedy is not None:
        best = scaled.topk(2, dim=-1) if scaled.shape[-1] > 1 else None
        cold = settings.greedy
        ids = torch.where(cold, scaled.argmax(dim=-1) if best is None else best.indices[:, 0], ids)
        logprobs = torch.where(cold & top[:, 0].isfinite(), 0.0, logprobs)
        tie = torch.zeros_like(cold) if best is None else best.values[:, 0] - best.values[:, 1] < NEAR
        near = torch.where(cold, tie, near)
    if tipped is not None and settings.filtered is not None:
        near[settings.filtered] |= tipped
    return Drawn(ids, logprobs, near)
