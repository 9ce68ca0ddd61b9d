"""The dtype of matrix products in play on a CPU: float32, or bfloat16 with sums in float32.

Weights stay float32 for the learner; play uses a rounded copy (agents/engine/fused_layers.py).
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..engine import kernels

LARGE = 2**24
"""Weights in linear layers from which on bfloat16 is tried. Smaller models play in float32, where games do
not depend on the games beside them."""
GAIN = 1.3
"""Speed of bfloat16 products, relative to float32, that is required to use them."""
ROWS = 32
"""Rows of the products in the trial: typical number of unfinished replies when games end at different times.
"""


def rounds(dtype: torch.dtype | str | None, device: torch.device) -> bool:
    """Whether this setting rounds products while weights stay float32: on processors where our own kernels
    compute bfloat16."""
    return dtype == torch.bfloat16 and device.type == "cpu" and kernels.AVAILABLE


def products(model: Any, wanted: torch.dtype | None) -> torch.dtype:
    """The dtype of a model's products. wanted: None lets a trial decide for a LARGE model with float32
    weights on a CPU with bfloat16 instructions; all other models compute in the dtype of their weights."""
    if wanted is not None or not tried(model):
        return wanted or next(model.parameters()).dtype
    fast = kernels.instructions() > kernels.WIDENED and gain() >= GAIN
    return torch.bfloat16 if fast else torch.float32


def tried(model: Any) -> bool:
    """Whether a trial decides the dtype of a model's products if no setting does."""
    parameter = next(model.parameters())
    if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
        return False
    return sum(module.weight.numel() for module in model.modules() if type(module) is nn.Linear) >= LARGE


@cache
def gain(rows: int = ROWS) -> float:
    """Speed of our bfloat16 products relative to torch's float32 products on this machine: a trial of under a
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
