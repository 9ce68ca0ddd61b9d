"""Gradient checkpointing: layers keep their inputs alone, and are computed again in the backward pass (Chen et al., arXiv 1604.06174).

transformers' own switch works in training mode only, in which dropout is on, and the learner keeps that off.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from .patching import swapped


def checkpointed_layers(model: Any) -> list[Any]:
    """The layers that can be computed again. Raises ValueError where a model has none."""
    found = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no layers that can be computed again: set learner.gradient_checkpointing false")
    return found


@contextmanager
def recomputing(layers: Sequence[Any]) -> Iterator[None]:
    """Inside, forward passes through these layers keep what goes in and nothing else. Backward passes may be outside."""
    with ExitStack() as stack:
        for layer in layers:
            again = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
            stack.enter_context(swapped(layer, again))
        yield
