"""The machine's own limit for generation: how long the matrix products of a run, and reading its keys and values, take by themselves.

Both are measured where the run was, with the model's own weights, at the run's own mean shapes; so this is an estimate, good to a few
per cent, of what steps of many shapes would take. Nothing else is counted: no norms, no activations, no softmax, no sampling, no Python.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sparring.agents.engine import kernels

from .common import Work


def seconds(model: Any, work: Work, bytes_per_token: int, products: torch.dtype) -> dict[str, float]:
    """The seconds that `work` takes at this limit: in all, and its parts, products at mean shapes and the reading of live keys and values.

    bytes_per_token: of keys and values of one cached position in all layers. products: what the run computed its products in.
    """
    head = model.get_output_embeddings()
    body = [module for module in model.modules() if isinstance(module, nn.Linear | Conv1D) and module is not head]
    drawn = work.drawn / work.steps
    packed = (work.rows + work.prefilled) / work.steps
    taken = work.steps * (_products(body, round(packed), model, products) + _products([head], round(drawn), model, products))
    reading = work.attended * bytes_per_token / reading_rate(round(work.attended / work.steps * bytes_per_token), model)
    return {"total": taken + reading, "products": taken, "keys_values": reading}


def _products(modules: Sequence[nn.Module], rows: int, model: Any, dtype: torch.dtype) -> float:
    """Seconds for one pass through linear modules with so many rows, one after the other, as a forward pass meets them: by torch or, on a
    CPU, by the compiled kernels, whichever is faster.
    """
    own: list[Tensor] = [m.weight.T if isinstance(m, Conv1D) else m.get_parameter("weight") for m in modules]
    weights = [weight.detach().to(dtype) for weight in own]
    inputs = {weight.shape[1]: torch.randn(max(1, rows), weight.shape[1], dtype=dtype, device=weight.device) for weight in weights}

    def by_torch() -> None:
        for weight in weights:
            torch.nn.functional.linear(inputs[weight.shape[1]], weight)

    taken = timed(by_torch, model.device)
    if kernels.AVAILABLE and own[0].device.type == "cpu" and own[0].dtype == torch.float32:
        weights.clear()
        panels = [kernels.pack(weight, dtype) for weight in own]
        floats = {width: x.float() for width, x in inputs.items()}

        def by_kernels() -> None:
            for some in panels:
                kernels.linear(floats[some.inputs], some)

        taken = min(taken, timed(by_kernels, model.device))
    return taken


def reading_rate(size: int, model: Any) -> float:
    """Bytes a second at which a buffer of `size` bytes is read again and again."""
    parameter = next(model.parameters())
    buffer = torch.ones(max(size // parameter.dtype.itemsize, 1024), dtype=parameter.dtype, device=parameter.device)
    return buffer.nbytes / timed(lambda: buffer.sum(), parameter.device)


def timed(what: Callable[[], Tensor | None], device: torch.device, runs: int = 20, most: float = 3.0) -> float:
    """Seconds of one call, the median of several after three that are not counted: of so many runs, or of three and more if these take
    more than `most` seconds."""
    taken: list[float] = []
    with torch.inference_mode():
        for number in range(runs + 3):
            if len(taken) >= 3 and sum(taken) > most:
                break
            wait(device)
            began = time.perf_counter()
            what()
            wait(device)
            if number >= 3:
                taken.append(time.perf_counter() - began)
    return median(taken)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
