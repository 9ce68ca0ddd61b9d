"""What the generation loop asks of a model of transformers, whatever its architecture."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from torch import Tensor


def stored_tensors(model: Any) -> Iterator[Tensor]:
    """Parameters and buffers that are saved with a model."""
    for module in model.modules():
        for name, tensor in chain(module._parameters.items(), module._buffers.items()):
            if tensor is not None and name not in module._non_persistent_buffers_set:
                yield tensor


def model_length(model: Any) -> int:
    """The longest stream, in tokens, that a model's positions allow (2048 where its configuration does not say).

    Where positions are scaled by the longest stream of a batch (longrope), or attention sees chunks or some blocks alone, only as far as
    none of it matters.
    """
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    named = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")]
    length = next((value for value in named if isinstance(value, int) and value > 0), 2048)
    rope = getattr(config, "rope_parameters", None) or {}
    for scaling in [rope, *(part for part in rope.values() if isinstance(part, dict))]:
        if scaling.get("rope_type") == "longrope":
            length = min(length, scaling.get("original_max_position_embeddings") or length)
    blocks = (getattr(config, "index_topk_blocks", None) or 0) * (getattr(config, "index_block_size", None) or 0)
    return min(length, getattr(config, "attention_chunk_size", None) or length, blocks or length)
