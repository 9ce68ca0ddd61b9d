"""Parts of a model between its matrix products, for which kernels.cpp has one pass where the model's own code has several: root mean square
norms, rotary positions, gated activations. And its matrix products, where they are to be in bfloat16.

Which parts of a model these are is found by trying them, on small, middling and large numbers. Where gradients are wanted, and for tensors
that the kernels cannot take, the model's own code runs.
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


def fused_layers(model: nn.Module, heads: tuple[int, int, int]) -> list[Place]:
    """What can be replaced in a model, for `replaced`. heads: how many query heads, how many of keys, and their size."""
    first = next(model.parameters())
    if not (kernels.AVAILABLE and first.device.type == "cpu" and first.dtype == torch.float32):
        return []
    found: list[Place] = []
    files: dict[str, dict[str, Any]] = {}
    with torch.inference_mode():
        for module in model.modules():
            for quick in (_norm(module), _gated(module)):
                if quick is not None:
                    found.append((vars(module), "forward", quick))
            file = sys.modules.get(type(module).__module__)
            if file is not None and ROTARY in vars(file):
                files[file.__name__] = vars(file)
        for names in files.values():
            turn = _rotary(names[ROTARY], heads)
            if turn is not None:
                found.append((names, ROTARY, turn))
    return found


@contextmanager
def replaced(places: Iterable[Place]) -> Iterator[None]:
    """Puts what `fused_layers` found in its places for a while. Whoever has put another forward pass into one module, as accelerate's hooks
    do, wants that one called. Another thread that runs the same code meanwhile is served either way, with gradients or without.
    """
    before: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for names, name, quick in places:
            if name == ROTARY or name not in names:
                before.append((names, name, names.get(name)))
                names[name] = quick
        yield
    finally:
        for names, name, old in before:
            if old is None:
                names.pop(name, None)
            else:
                names[name] = old


class HalfProducts:
    """Linear layers of a float32 model, computed in bfloat16 with sums in float32 (agents/engine/products.cpp). Their weights are rounded
    when they are first used, and again after `forget`."""

    def __init__(self, model: nn.Module) -> None:
        self._panels: dict[nn.Module, kernels.Panels] = {}
        self.places: list[Place] = [(vars(module), "forward", self._of(module)) for module in model.modules() if type(module) is nn.Linear]

    def _of(self, module: nn.Linear) -> Callable[[Tensor], Tensor]:
        own = module.forward

        def product(x: Tensor) -> Tensor:
            weight, bias = module.weight, module.bias
            if torch.is_grad_enabled() or not all(_plain(y) for y in (x, weight, bias)):
                return own(x)
            if module not in self._panels:
                self._panels[module] = kernels.pack(weight, torch.bfloat16)
            return kernels.linear(x, self._panels[module], bias)

        return product

    def forget(self) -> None:
        """Gives the memory of rounded weights back; they may have changed."""
        self._panels.clear()


def _plain(x: Tensor | None) -> bool:
    return x is None or (x.dtype == torch.float32 and x.device.type == "cpu")


def _can_take(*tensors: Tensor) -> bool:
    return not torch.is_grad_enabled() and kernels.can_take(*tensors)


def _norm(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The same as a norm's forward pass."""
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not (type(module).__name__.endswith("RMSNorm") and isinstance(weight, Tensor) and weight.dim() == 1 and isinstance(eps, float)):
        return None
    own = module.forward

    def norm(x: Tensor) -> Tensor:
        # Read anew, as a learner may replace it.
        scale: Any = module.weight
        return kernels.norm(x, scale, eps) if _can_take(x, scale) else own(x)

    return norm if kernels.can_take(weight) and _same(own, norm, len(weight)) else None


def _gated(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The same as the forward pass of two layers, one of them gated by the third."""
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    width = getattr(parts[0], "in_features", None)
    if not isinstance(width, int) or not all(isinstance(part, nn.Module) for part in parts):
        return None
    own = module.forward

    def gated(x: Tensor) -> Tensor:
        if not _can_take(x):
            return own(x)  # type: ignore[no-any-return]
        gate, up = module.gate_proj(x), module.up_proj(x)  # type: ignore[operator]
        return module.down_proj(kernels.gate(gate, up)) if _can_take(gate, up) else own(x)  # type: ignore[operator,no-any-return]

    return gated if _same(own, gated, width) else None


def _rotary(turn: Any, heads: tuple[int, int, int]) -> Callable[..., Any] | None:
    """The same as a function that turns queries and keys [1, heads, T, D] by cosines and sines [1, T, D]."""
    queries, keys, size = heads
    if size % 32:
        return None

    def rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *rest: Any, **options: Any) -> Any:
        if rest or options or len(q) > 1 or not cos.shape == sin.shape == (1, *q.shape[2:]) or not _can_take(q, k, cos, sin):
            return turn(q, k, cos, sin, *rest, **options)
        return tuple(kernels.rotate(x[0], cos[0], sin[0])[None] for x in (q, k))

    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, count, 3, size, generator=generator) for count in (queries, keys))
    cos, sin = (torch.randn(1, 3, size, generator=generator) for _ in range(2))
    try:
        return rotary if all(_near(*pair) for pair in zip(turn(q, k, cos, sin), rotary(q, k, cos, sin), strict=True)) else None
    except Exception:
        return None


def _same(own: Callable[..., Any], quick: Callable[[Tensor], Tensor], width: int) -> bool:
    """Whether two forward passes compute the same of some rows."""
    x = torch.randn(1, 9, width, generator=torch.Generator().manual_seed(0))
    x *= torch.tensor([1e-3, 1.0, 1e3]).repeat(3)[:, None]
    try:
        return _near(own(x), quick(x))
    except Exception:
        return False


def _near(wanted: Any, found: Tensor) -> bool:
    """Whether rows are equal, but for rounding, and say anything at all."""
    if not isinstance(wanted, Tensor) or wanted.shape != found.shape:
        return False
    largest = wanted.abs().amax(dim=-1, keepdim=True)
    return bool((largest > 0).all() and ((wanted - found).abs() <= 1e-4 * largest).all())
