"""Where a run's time goes on a CPU: the operations that torch ran, by kind, and what is left for Python."""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any
from unittest import mock

from torch.profiler import ProfilerActivity, profile, record_function

from sparring.agents.engine import kernels

from .common import Setting
from .loops import LOOPS

KINDS: dict[str, tuple[str, ...]] = {
    "products": ("aten::mm", "aten::addmm", "kernels.linear"),
    "layers": ("kernels.body",),
    "attention": ("aten::bmm", "aten::baddbmm", "aten::_softmax", "aten::_scaled_dot_product", "kernels.attend"),
    "moving": (
        "kernels.copy",
        "aten::copy_",
        "aten::index_copy_",
        "aten::index_select",
        "aten::cat",
        "aten::fill_",
        "aten::zero_",
        "aten::gather",
    ),
}
"""Kinds of operations by how their names begin; all others are "others". What attention writes and copies is moving.
"layers" are those of a Llama in one call: products, attention and all."""


def spent(setting: Setting, name: str, games: int, batch: int) -> dict[str, float]:
    """Seconds of one run of a loop by kind of operation, "python" for what no operation took, and "profiled" for the whole, which the
    profiler lengthens.
    """
    with ExitStack() as stack:
        for kernel in ("attend", "body", "copy", "norm", "rotate", "gate", "linear", "draw"):
            # The profiler sees torch's operations alone.
            stack.enter_context(mock.patch.object(kernels, kernel, _recorded(f"kernels.{kernel}", getattr(kernels, kernel))))
        profiler = stack.enter_context(profile(activities=[ProfilerActivity.CPU]))
        began = time.perf_counter()
        LOOPS[name](setting, games, batch)
        whole = time.perf_counter() - began
    found = by_kind((event.key, event.self_cpu_time_total / 1e6) for event in profiler.key_averages())
    return {**found, "python": whole - sum(found.values()), "profiled": whole}


def _recorded(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def recorded(*args: Any) -> Any:
        with record_function(name):
            return call(*args)

    return recorded


def by_kind(times: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Sums of times by kind of operation."""
    found = dict.fromkeys((*KINDS, "others"), 0.0)
    for operation, seconds in times:
        found[next((kind for kind, names in KINDS.items() if operation.startswith(names)), "others")] += seconds
    return found
