"""The adapter that a LoRA run trains (extra `peft`; Hu et al., arXiv 2106.09685).

The model's own weights stay as they came, so that with the adapter off the model is its own reference. Reading, writing and playing through
adapters: `agents/models/adapter_folders.py`.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparring.agents.models.adapter_folders import lora_layers, peft, read_adapter

NAME = "learner"
"""The trained adapter's, among those of a model."""


def targets(model: Any) -> list[tuple[str, nn.Linear]]:
    """The linear layers that get an adapter, by name: all but the head. Raises ValueError where there are none."""
    head = model.get_output_embeddings()
    found = [(name, getattr(m, "base_layer", m)) for name, m in model.named_modules() if m is not head and _is_linear(name, m)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no linear layers for LoRA: set learner.lora_rank 0, which trains all weights")
    return found


def _is_linear(name: str, module: Any) -> bool:
    parts = name.split(".")
    own = not {"base_layer", "lora_A", "lora_B"} & set(parts)
    return own and isinstance(getattr(module, "base_layer", module), nn.Linear)


def size(model: Any, rank: int) -> int:
    """How many numbers an adapter of a rank has."""
    return sum(rank * (layer.in_features + layer.out_features) for _, layer in targets(model))


def begin(model: Any, rank: int) -> list[nn.Parameter]:
    """Puts a fresh adapter into a model, or makes the one that is there fresh, and freezes the rest; the adapter's parameters, float32.

    It changes nothing yet: its second factor is zero. The first is the same for equal models, whatever was drawn before. What it adds is
    scaled by 2. Raises ValueError where peft is not installed or the model has no linear layers.
    """
    if not lora_layers(model):
        settings = peft().LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=[name for name, _ in targets(model)])
        model.add_adapter(settings, NAME)
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    parameters = []
    for layer in lora_layers(model):
        down, up = layer.lora_A[NAME].float().weight, layer.lora_B[NAME].float().weight
        with torch.no_grad():
            down.copy_(nn.init.kaiming_uniform_(torch.empty(down.shape), a=math.sqrt(5), generator=generator))
            up.zero_()
        parameters += [down.requires_grad_(True), up.requires_grad_(True)]
    return parameters


def restore(model: Any, folder: Path) -> None:
    """Gives the trained adapter the weights that a folder holds."""
    weights = read_adapter(folder)
    own = peft().get_peft_model_state_dict(model, adapter_name=NAME, save_embedding_layers=False)
    if weights.keys() != own.keys() or any(weights[key].shape != own[key].shape for key in own):
        raise ValueError(f"the adapter in {folder} is not that of learner.lora_rank in this run")
    peft().set_peft_model_state_dict(model, weights, adapter_name=NAME)
