"""Samples without padding: one sequence [1, T] that holds samples one after the other, each of which attends to itself alone.

Everything in a model but attention works token by token, so only attention is told about samples, by the function registered here;
positions begin anew with every sample. No mask of [T, T] is built: attention sees samples padded to the longest (`micro_batches` has sorted
them by length) and is causal, so that no sample looks at its padding. Where a model is to attend by a flash kernel of its own, that one is
left in place: it reads the samples from the positions. Letters: T = tokens, n = samples, W = the longest sample, H = heads, D = head size.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparring.agents.engine.attention import attention
from sparring.agents.models.fidelity import short_windows

from .batch import sample_positions

NAME = "sparring_packed"
"""This attention's name in the attention interface. No mask function bears it, so that models build no masks of their own."""
KNOWN_LAYERS = {"full_attention", "sliding_attention"}
"""Kinds of layers whose whole rule of attention reaches an attention function; others keep part of it in their mask."""


class _PackedSamples:
    """Where the tokens of samples lie. lengths: of the samples."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.samples, self.width = len(lengths), max(lengths)
        self.even = min(lengths) == self.width
        length = torch.tensor(lengths, device=device)
        steps = torch.arange(self.width, device=device)
        real = steps < length[:, None]
        begin = torch.cumsum(length, 0) - length
        self._padded = torch.where(real, begin[:, None] + steps, begin[:, None]).flatten()
        self._real = real.flatten().nonzero()[:, 0]
        self._masks: dict[int | None, Tensor] = {}

    def pad(self, x: Tensor) -> Tensor:
        """[1, H, T, D] to [n, H, W, D]; padding repeats the sample's first token."""
        flat = x[0] if self.even else x[0].index_select(1, self._padded)
        return flat.view(len(flat), self.samples, self.width, -1).transpose(0, 1)

    def pack(self, x: Tensor) -> Tensor:
        """[n, H, W, D] to [1, T, H, D]."""
        flat = x.transpose(1, 2).reshape(self.samples * self.width, x.shape[1], -1)
        return (flat if self.even else flat.index_select(0, self._real))[None]

    def mask(self, window: int | None) -> Tensor:
        """[W, W], True where a token (by samples) attends to another (by columns)."""
        if window not in self._masks:
            places = torch.arange(self.width, device=self._real.device)
            seen = places <= places[:, None]
            self._masks[window] = seen & (places > places[:, None] - window) if window else seen
        return self._masks[window]


_samples: _PackedSamples | None = None


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """The registered attention function: query [1, Hq, T, D], key and value [1, H, T, D]; returns [1, T, Hq, D]."""
    samples = _samples
    assert samples is not None, "the attention of packed samples runs only inside `attending`"
    q, k, v = samples.pad(query), samples.pad(key), samples.pad(value)
    scale, window = kwargs.get("scaling"), kwargs.get("sliding_window")
    window = window if window and window < samples.width else None
    softcap, sinks = kwargs.get("softcap"), kwargs.get("s_aux")
    groups = q.shape[1] // k.shape[1]
    if softcap is None and sinks is None:
        mask = None if window is None else samples.mask(window)
        answer = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=groups > 1)
    else:
        hidden = torch.zeros(samples.width, samples.width, dtype=q.dtype, device=q.device).masked_fill_(~samples.mask(window), -torch.inf)
        k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
        scale = q.shape[-1] ** -0.5 if scale is None else float(scale)
        answer = attention(q, k, v, hidden, scale=scale, softcap=softcap, sinks=sinks)
    return samples.pack(answer), None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)


@contextmanager
def attending(model: Any, lengths: Sequence[int]) -> Iterator[None]:
    """Inside, a sequence [1, T] that goes through the model holds samples of these lengths. What is computed again in a backward pass, as
    by gradient checkpointing, has to be inside too.
    """
    global _samples
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    ours = [config for config in configs.values() if "flash" not in (getattr(config, "_attn_implementation", None) or "flash")]
    names = [config._attn_implementation for config in ours]
    before = _samples
    try:
        _samples = _PackedSamples(lengths, next(model.parameters()).device)
        for config in ours:
            config._attn_implementation = NAME
        yield
    finally:
        _samples = before
        for config, name in zip(ours, names, strict=True):
            config._attn_implementation = name


def can_pack(model: Any) -> bool:
    """Whether samples in one sequence have the logits that they have alone, found out by trying; said where they have not."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if kinds <= KNOWN_LAYERS and _alike(model):
        return True
    warnings.warn(
        f"samples of {type(model).__name__} cannot lie in one sequence without seeing each other; they are padded instead",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def _alike(model: Any, lengths: Sequence[int] = (7, 21, 4, 21)) -> bool:
    parameter = next(model.parameters())
    vocabulary = model.config.get_text_config().vocab_size
    ids = (torch.arange(sum(lengths), device=parameter.device) * 7919 + 13) % vocabulary
    with torch.no_grad(), short_windows(model):
        alone = torch.cat([model(input_ids=sample[None], use_cache=False).logits[0] for sample in ids.split(list(lengths))]).float()
        try:
            with attending(model, lengths):
                positions = sample_positions(lengths).to(parameter.device)
                packed = model(input_ids=ids[None], position_ids=positions[None], use_cache=False).logits[0].float()
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
            return False
    # NOTE: logits with -inf, of tokens that a model rules out, are equal there or not at all.
    finite = alone.isfinite()
    if packed.shape != alone.shape or not torch.equal(finite, packed.isfinite()):
        return False
    allowed = 1e-4 if parameter.dtype == torch.float32 else 5e-2
    return bool((packed - alone)[finite].norm() <= allowed * alone[finite].norm())
