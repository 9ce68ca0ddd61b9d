"""What a model that plays on a CPU computes its matrix products in: float32, or bfloat16 with sums in
float32.

Weights stay float32, for who learns; play makes itself a rounded copy (agents/engine/fused_layers.py).
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..engine import kernels

LARGE = 2**24
"""Weights in linear layers from which on it is tried whether bfloat16 is faster. Smaller models play in
float32, where games do not depend on which others are played beside them."""
GAIN = 1.3
"""How many times as fast products have to be."""
ROWS = 32
"""Of the products that are tried: about as many replies as are in the making when games end at different
times."""


def rounds(dtype: torch.dtype | str | None, device: torch.device) -> bool:
    """Whether this setting rounds products while weights stay float32: where this processor's bfloat16 is our
    own kernels'."""
    return dtype == torch.bfloat16 and device.type == "cpu" and kernels.AVAILABLE


def products(model: Any, wanted: torch.dtype | None) -> torch.dtype:
    """What products of a model are to be computed in. wanted: None lets a trial decide, where the model is
    LARGE and of float32 weights on a CPU that has instructions for bfloat16; any other model computes in the
    type of its weights."""
    if wanted is not None or not tried(model):
        return wanted or next(model.parameters()).dtype
    fast = kernels.instructions() > kernels.WIDENED and gain() >= GAIN
    return torch.bfloat16 if fast else torch.float32


def tried(model: Any) -> bool:
    """Whether a trial decides what a model's products are computed in, where nobody else does."""
    parameter = next(model.parameters())
    if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
        return False
    return sum(module.weight.numel() for module in model.modules() if type(module) is nn.Linear) >= LARGE


@cache
def gain(rows: int = ROWS) -> float:
    """How many times as fast as torch's in float32 our products in bfloat16 are here: a trial of under a
    second, made once."""
    weights = torch.randn(4096, 2048, generator=torch.Generator().manual_seed(0))
    panels, x = kernels.pack(weights, torch.bfloat16), weights[:rows].clone()

    def seconds(product: Callable[..., Tensor], by: Any) -> float:
        began = time.perf_counter()
        product(x, by)
        return time.perf_counter() - began

    with torch.inference_mode():
        taken = [(seconds(nn.functional.linear, weights), seconds(kernels.linear, panels)) for _ in range(7)]
    return min(whole for whole, _ in taken) / min(half for _, half in taken)
