"""Parts of a model between its matrix products, for which agents/kernels.cpp has one pass where the model's own code has several: root mean
square norms, rotary positions, gated activations.

Which parts of a model these are is found by trying: what does not compute the same is left alone.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from . import kernels

ROTARY = "apply_rotary_pos_emb"
"""What the modules of transformers call their function that turns queries and keys, and its signature (q, k, cos, sin)."""

Place = tuple[dict[str, Any], str, Callable[..., Any]]
"""A namespace, a name in it, and what is to stand there."""


def quick_parts(model: nn.Module, heads: tuple[int, int, int]) -> list[Place]:
    """What can be replaced in a model, for `replaced`. heads: how many query heads, how many of keys, and their size."""
    if not kernels.can_take(next(model.parameters())):
        return []
    found: list[Place] = []
    with torch.inference_mode():
        for module in model.modules():
            for quick in (_norm(module), _gated(module)):
                # Whoever has put another function into this one module, as accelerate's hooks do, wants that one called.
                if quick is not None and "forward" not in vars(module):
                    found.append((vars(module), "forward", quick))
        files = {type(module).__module__: vars(sys.modules[type(module).__module__]) for module in model.modules()}
        for names in files.values():
            turn = _rotary(names.get(ROTARY), heads)
            if turn is not None:
                found.append((names, ROTARY, turn))
    return found


@contextmanager
def replaced(places: Iterable[Place]) -> Iterator[None]:
    """Puts what `quick_parts` found in its places for a while."""
    before = [(names, name, names.get(name)) for names, name, _ in places]
    try:
        for names, name, quick in places:
            names[name] = quick
        yield
    finally:
        for names, name, old in before:
            if old is None:
                names.pop(name, None)
            else:
                names[name] = old


def _norm(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The same as a norm's forward pass."""
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not (type(module).__name__.endswith("RMSNorm") and isinstance(weight, Tensor) and weight.dim() == 1 and isinstance(eps, float)):
        return None

    own = module.forward

    def norm(x: Tensor) -> Tensor:
        # The weight is read anew, as a learner may replace it.
        return kernels.norm(x, module.weight, eps) if kernels.can_take(x) else own(x)  # type: ignore[arg-type]

    x = torch.randn(3, len(weight), generator=torch.Generator().manual_seed(0))
    return norm if kernels.can_take(weight) and _same(module(x), norm(x)) else None


def _gated(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The same as the forward pass of two layers, one of them gated by the third."""
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    width = getattr(parts[0], "in_features", None)
    if width is None or getattr(parts[0], "out_features", 1) % 16 or not all(isinstance(part, nn.Module) for part in parts):
        return None

    own = module.forward

    def gated(x: Tensor) -> Tensor:
        if not kernels.can_take(x):
            return own(x)  # type: ignore[no-any-return]
        return module.down_proj(kernels.gate(module.gate_proj(x), module.up_proj(x)))  # type: ignore[operator,no-any-return]

    x = torch.randn(3, width, generator=torch.Generator().manual_seed(0))
    return gated if _same(module(x), gated(x)) else None


def _rotary(turn: Any, heads: tuple[int, int, int]) -> Callable[..., Any] | None:
    """The same as a function that turns queries and keys [1, heads, T, D] by cosines and sines [1, T, D]."""
    queries, keys, size = heads
    if not callable(turn) or size % 32:
        return None

    def rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *rest: Any, **options: Any) -> Any:
        if rest or options or len(q) > 1 or cos.shape != (1, *q.shape[2:]) or cos.dtype != q.dtype or not kernels.can_take(q):
            return turn(q, k, cos, sin, *rest, **options)
        return tuple(kernels.rotate(x[0], cos[0], sin[0])[None] for x in (q, k))

    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, count, 3, size, generator=generator) for count in (queries, keys))
    cos, sin = (torch.randn(1, 3, size, generator=generator) for _ in range(2))
    try:
        wanted = turn(q, k, cos, sin)
    except (TypeError, ValueError, RuntimeError, IndexError):
        return None  # of another signature
    return rotary if all(_same(*pair) for pair in zip(wanted, rotary(q, k, cos, sin), strict=True)) else None


def _same(wanted: Any, found: Tensor) -> bool:
    return isinstance(wanted, Tensor) and wanted.shape == found.shape and torch.allclose(wanted, found, rtol=1e-4, atol=1e-5)
