"""A model of the same shape that has learnt nothing: what a score would be without any training."""

import torch

from sparring.agents.models.language_model import LanguageModel

NAME = "untrained"


def untrained(model: LanguageModel, seed: int = 0) -> LanguageModel:
    """A model of the same configuration, dtype, device and tokenizer, with the random weights that its
    family begins with."""
    inner = model.model
    parameter = next(inner.parameters())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = type(inner)(inner.config)
    fresh = fresh.to(device=parameter.device, dtype=parameter.dtype).eval()
    return LanguageModel(fresh, model.tokenizer, name=NAME, max_length=model.loop.max_length, day=model.format.day)
