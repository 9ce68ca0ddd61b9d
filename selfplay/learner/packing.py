"""Samples without padding: one sequence [1, T] that holds samples one after the other, each of which attends to itself alone.

Everything in a model but attention works token by token, so only attention is told about samples, by the function registered here;
positions begin anew with every sample. The sequence may hold the first tokens that a sample shares with the sample before it once: they
belong to both, and their gradient is the sum. Where a model is to attend by a flash kernel of its own, that one is left in place: it reads
the samples from the positions, and they share nothing. Letters: T = tokens, H = heads, D = head size.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparring.agents.models.fidelity import short_windows

from .batch import packed_places, sample_positions
from .sample_attention import PackedSamples, Rule, SharedSamples

NAME = "sparring_packed"
"""This attention's name in the attention interface. No mask function bears it, so that models build no masks of their own."""
KNOWN_LAYERS = {"full_attention", "sliding_attention"}
"""Kinds of layers whose whole rule of attention reaches an attention function; others keep part of it in their mask."""


_samples: PackedSamples | SharedSamples | None = None


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """The registered attention function: query [1, Hq, T, D], key and value [1, H, T, D]; returns [1, T, Hq, D]."""
    assert _samples is not None, "the attention of packed samples runs only inside `attending`"
    rule = Rule(kwargs.get("sliding_window"), kwargs.get("scaling"), kwargs.get("softcap"), kwargs.get("s_aux"))
    return _samples.attend(query, key, value, rule), None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)


@contextmanager
def attending(model: Any, lengths: Sequence[int], starts: Sequence[int] = ()) -> Iterator[None]:
    """Inside, a sequence [1, T] that goes through the model holds samples of these lengths. starts: per sample, how many first tokens it
    shares with the sample before it (none where starts is empty); the sequence holds them once. What is computed again in a backward pass,
    as by gradient checkpointing, has to be inside too.
    """
    global _samples
    ours = _configs(model)
    names = [config._attn_implementation for config in ours]
    before = _samples
    try:
        device = next(model.parameters()).device
        _samples = SharedSamples(lengths, starts, device) if any(starts) else PackedSamples(lengths, device)
        for config in ours:
            config._attn_implementation = NAME
        yield
    finally:
        _samples = before
        for config, name in zip(ours, names, strict=True):
            config._attn_implementation = name


def _configs(model: Any) -> list[Any]:
    """Configurations of a model whose attention is not left to a flash kernel of its own."""
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    return [config for config in configs.values() if "flash" not in (getattr(config, "_attn_implementation", None) or "flash")]


def can_pack(model: Any) -> bool:
    """Whether samples in one sequence have the logits that they have alone, found out by trying; said where they have not."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if kinds <= KNOWN_LAYERS and _same(model, (7, 21, 4, 21), (0, 0, 0, 0)):
        return True
    warnings.warn(
        f"samples of {type(model).__name__} cannot lie in one sequence without seeing each other; they are padded instead",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def can_share(model: Any) -> bool:
    """Of a model that can pack: whether samples that share first tokens have the logits that they have alone, found out by trying."""
    return bool(_configs(model)) and _same(model, (23, 25, 9, 21), (0, 20, 5, 0))


def _same(model: Any, lengths: Sequence[int], starts: Sequence[int]) -> bool:
    """Whether samples in one sequence (`attending`) have the logits that they have alone."""
    parameter = next(model.parameters())
    vocabulary = model.config.get_text_config().vocab_size
    ids = (torch.arange(sum(lengths) - sum(starts), device=parameter.device) * 7919 + 13) % vocabulary
    places = [torch.from_numpy(of).to(parameter.device) for of in packed_places(lengths, starts)]
    with torch.no_grad(), short_windows(model):
        alone = torch.cat([model(input_ids=ids[of][None], use_cache=False).logits[0] for of in places]).float()
        try:
            with attending(model, lengths, starts):
                positions = sample_positions(lengths, starts).to(parameter.device)
                packed = model(input_ids=ids[None], position_ids=positions[None], use_cache=False).logits[0].float()
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
            return False
    # NOTE: logits with -inf, of tokens that a model rules out, are equal there or not at all.
    finite = alone.isfinite()
    if len(packed) != len(ids) or not torch.equal(finite, packed[torch.cat(places)].isfinite()):
        return False
    allowed = 1e-4 if parameter.dtype == torch.float32 else 5e-2
    return bool((packed[torch.cat(places)] - alone)[finite].norm() <= allowed * alone[finite].norm())
