"""How much memory passes through a model hold, from a few small ones: what a backward pass needs is counted tensor by tensor."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .batch import collate, sft_sample
from .scoring import CHUNK, Scorer

LOGIT_COPIES = 8
"""Tensors of a batch's logits that exist at once: logits, probabilities, the reference's, and what their gradients are made of."""
DRAW_COPIES = 6
"""The same while tokens are drawn."""
_LENGTHS = (16, 32, 48)


def learning_bytes(scorer: Scorer, tokens: int, longest: int, *, rank: int = 0, recomputed: bool = False) -> int:
    """Bytes of activations and logits of one forward and backward pass over so many tokens by a learner, whose weights are float32.

    longest: tokens of the longest sample. rank: of a LoRA adapter on all linear layers, which holds outputs of its own. recomputed:
    layers keep their inputs alone.
    """
    model = scorer.unwrapped
    longest = min(longest, tokens)
    by_length = [saved_bytes(scorer, (n,)) for n in _LENGTHS]
    # A sample's share is a polynomial of its length: attention that keeps its scores has the square.
    square = max(0.0, (by_length[0] - 2 * by_length[1] + by_length[2]) / (2 * (_LENGTHS[1] - _LENGTHS[0]) ** 2))
    per_token = (by_length[2] - by_length[1]) / (_LENGTHS[2] - _LENGTHS[1]) - square * (_LENGTHS[2] + _LENGTHS[1])
    constant = max(0.0, by_length[0] - _LENGTHS[0] * per_token - _LENGTHS[0] ** 2 * square)  # rounded copies of weights
    saved = tokens * (per_token + square * longest)
    if rank:
        linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
        saved += 4 * tokens * sum(rank + m.out_features for m in linear)
    layers = max(1, int(getattr(model.config.get_text_config(), "num_hidden_layers", 1)))
    # Of one layer, or two, there are gradients beside what was saved.
    beside = 2 * saved / layers
    if recomputed:
        saved = saved / layers + 4 * tokens * layers * model.config.get_text_config().hidden_size
    logits = 4 * LOGIT_COPIES * min(tokens * scorer.vocabulary, max(CHUNK, scorer.vocabulary))
    return int(saved + beside + constant) + logits


def saved_bytes(scorer: Scorer, lengths: Sequence[int]) -> int:
    """Bytes of what a backward pass over samples of these lengths needs beside the weights, as if these were float32; of each sample one
    token is learnt."""
    model = scorer.unwrapped
    wider = 4 // next(model.parameters()).element_size()
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes() * (wider if tensor.is_floating_point() else 1)
        return tensor

    batch = collate([sft_sample([1] * n, [False] * (n - 1) + [True]) for n in lengths], packed=scorer.packs)
    batch = batch.to(next(model.parameters()).device)
    with torch.enable_grad(), scorer.attending(batch), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = scorer.score(batch)
    del scores  # whose graph kept all tensors alive until here, so that none took the place of another
    return sum(held.values())


def playing_bytes(model: Any, rows: int, prefilled: int) -> int:
    """Bytes of one pass of the generation loop: logits of so many rows, and the widest layer over so many new tokens."""
    config = model.config.get_text_config()
    layers = (weight.shape[0] for weight in model.parameters() if weight.ndim == 2 and weight.shape[0] != config.vocab_size)
    widest: int = max(layers, default=0)
    return 4 * (DRAW_COPIES * rows * int(config.vocab_size) + 6 * prefilled * widest)
