"""Weights that are split among processes (FSDP2, by accelerate's settings; Zhao et al., arXiv 2304.11277).

What is split is the learner's own float32 copy, its gradients and its optimiser. Play goes on with a whole model on every process, which
`Learner.publish` fills once a round. Checkpoints hold whole tensors, so that any number of processes reads them, split or not.
"""

import os
from typing import Any

import torch
from accelerate import FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor


def wanted(engine: str = "FSDP") -> bool:
    """Whether accelerate's settings ask for an engine that splits weights."""
    return os.environ.get(f"ACCELERATE_USE_{engine}", "false").lower() == "true"


def plugin(*, half: bool) -> Any:
    """What accelerate is told about splitting, from its own settings; None where nothing is split. half: layers compute in bfloat16."""
    if not wanted():
        return None
    # NOTE: accelerate's own policy also sums gradients in bfloat16 and rounds what the model gives back, here log-probabilities.
    return FullyShardedDataParallelPlugin(
        mixed_precision_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32)
    )


def check(device: str, *, adapter: bool) -> None:
    """Raises ValueError where weights were to be split in a way that the learner cannot do. device: as configured. adapter: whether a LoRA
    adapter is trained."""
    if wanted("DEEPSPEED"):
        raise ValueError("DeepSpeed is not supported: split weights with FSDP2 (docs/examples/fsdp2.yaml)")
    if not wanted():
        return
    made, wrong = FullyShardedDataParallelPlugin(), []
    if made.fsdp_version != 2:
        wrong.append(f"fsdp_version {made.fsdp_version} is not supported: set fsdp_version: 2")
    if made.cpu_ram_efficient_loading:
        wrong.append("every process plays with a whole model and has to load it: set fsdp_cpu_ram_efficient_loading: false")
    if made.activation_checkpointing:
        wrong.append(
            "the learner recomputes layers itself: set fsdp_activation_checkpointing: false, and learner.gradient_checkpointing true"
        )
    if adapter:
        wrong.append("an adapter is trained in the model that plays, which is whole: start with docs/examples/ddp.yaml")
    if not on_gpus(device):
        wrong.append("accelerate splits weights among GPUs only: start processes on CPUs with torchrun and no FSDP settings")
    if wrong:
        raise ValueError("weights cannot be split (FSDP): " + "; ".join(wrong))


def on_gpus(device: str) -> bool:
    return device != "cpu" and torch.cuda.is_available()


class Whole(nn.Module):
    """Stands around a model that is split, so that what is no layer of it (embeddings, last norm, head) is gathered once for a whole pass:
    the head runs several times in one (`Scorer`)."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self._no_split_modules = module._no_split_modules

    def forward(self) -> Any:
        return self.module()


def whole(value: Any) -> Any:
    """A tensor of all processes' parts, on all processes, which have to ask for it together. Anything else as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def gathered(state: Any, *, keep: bool) -> Any:
    """A state dictionary with whole tensors on the CPU instead of split ones, gathered one by one; None for them where it is not kept."""
    if isinstance(state, dict):
        return {name: gathered(value, keep=keep) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(gathered(value, keep=keep) for value in state)
    if isinstance(state, DTensor):
        full = whole(state)
        return full.cpu() if keep else None
    return state


def part(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a tensor that is whole on all of them, split as another of its shape; where that is not split, the tensor."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
