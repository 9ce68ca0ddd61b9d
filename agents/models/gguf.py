"""Models in GGUF files, as plain models of transformers: dense, trainable, and saved as any other.

The package gguf unpacks the weights and says where they belong; transformers undoes how they were rearranged. A tensor that the model has
no place for, and a parameter that the file has no tensor for, are refused by name: transformers itself leaves them out, or at random,
without a word.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .gguf_config import ROPE_FACTORS, configuration, listed
from .gguf_file import GGUFFile, package, read_gguf, size_of, values_of


def load_gguf(path: str | Path, *, dtype: torch.dtype | str, attention: str | None = None) -> Any:
    """The model of a file, on the CPU. dtype: of its weights; "auto" is the file's where its matrices have one plain type, else float32.
    attention: as in transformers. Raises ValueError where the file or the package is missing, the file is damaged, or the model would not
    be the one in the file."""
    from transformers import AutoModelForCausalLM

    package()
    file = read_gguf(path)
    _check(file)
    config = configuration(file)
    kind = _dtype(file) if dtype == "auto" else getattr(torch, dtype) if isinstance(dtype, str) else dtype
    try:
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # whatever sizes that fit nothing end in
        raise ValueError(f"{file.path}: its keys make no model of transformers: {' '.join(str(error).split())}") from error
    options = {"attn_implementation": attention} if attention else {}
    weights = _weights(file, empty, kind)
    model: Any = type(empty).from_pretrained(None, config=config, state_dict=weights, dtype=kind, **options)
    ends = {file.keys.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")}
    model.generation_config.eos_token_id = sorted(end for end in ends if isinstance(end, int) and end < config.vocab_size) or None
    return model


def _check(file: GGUFFile) -> None:
    """Raises ValueError for a file that holds something else, and for one that is not whole. The number of layers is compared with the
    tensors before anything of that size is made."""
    kind, parts = file.keys.get("general.type", "model"), file.keys.get("split.count", 1)
    if kind != "model":
        raise ValueError(f"{file.path} holds no model but something of type {kind!r} (general.type)")
    if parts not in (0, 1):
        raise ValueError(f"{file.path} is one of {parts!r} parts: join them by llama-gguf-split --merge FIRST-PART WHOLE")
    for tensor in file.tensors:
        end = file.data + tensor.start + size_of(file, tensor)
        if end > file.size:
            raise ValueError(
                f"{file.path} is cut off: its tensor {tensor.name!r} ends at byte {end}, the file at {file.size}; get the file again"
            )
    layers = {match[1] for tensor in file.tensors if (match := re.match(r"blk\.(\d+)\.", tensor.name))}
    count = file.key("block_count", len(layers))
    if count != len(layers):
        raise ValueError(f"{file.path} is damaged: it says that it has {count!r} layers and holds tensors of {len(layers)}")


def _dtype(file: GGUFFile) -> torch.dtype:
    kinds = {package().GGMLQuantizationType(tensor.kind).name for tensor in file.tensors if len(tensor.shape) > 1}
    return {"F16": torch.float16, "BF16": torch.bfloat16}.get("".join(sorted(kinds)), torch.float32)


def _weights(file: GGUFFile, empty: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """The parameters by transformers' names; biases that a file has no tensor for are zero. Raises ValueError for any other difference
    between the tensors and the parameters of the model. empty: the model without weights."""
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

    kind: Any = TENSOR_PROCESSORS.get(file.architecture, TensorProcessor)
    processor = kind(config=empty.config.to_dict())
    parameters = dict(empty.named_parameters())
    names = _names(file, parameters)
    tensors = [tensor for tensor in file.tensors if tensor.name != ROPE_FACTORS]
    _compare(file, {tensor.name: names.get(tensor.name) for tensor in tensors}, parameters)
    weights: dict[str, Tensor] = {name: torch.zeros(p.shape, dtype=dtype) for name, p in parameters.items() if name.endswith(".bias")}
    for tensor in tensors:
        placed = processor.process(values_of(file, tensor), tensor.name)
        weights[names[tensor.name]] = torch.from_numpy(np.array(placed.weights)).to(dtype)
    return weights


def _names(file: GGUFFile, parameters: Iterable[str]) -> dict[str, str]:
    """transformers' names of parameters by the file's names of tensors."""
    gguf = package()
    architecture = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == file.architecture)
    table = gguf.get_tensor_name_map(architecture, file.key("block_count"))
    names = {table.get_name(name, try_suffixes=(".weight", ".bias")): name for name in parameters}
    return {tensor: name for tensor, name in names.items() if tensor is not None}


def _compare(file: GGUFFile, names: Mapping[str, str | None], parameters: Mapping[str, Tensor]) -> None:
    """Raises ValueError where tensors and parameters are not the same, one for one. names: parameters by tensors."""
    dropped = [tensor for tensor, name in names.items() if name not in parameters]
    if dropped:
        raise ValueError(f"{file.path} has tensors that its model in transformers has no place for: {listed(dropped)}")
    if len(names) != len(file.tensors) - any(tensor.name == ROPE_FACTORS for tensor in file.tensors):
        raise ValueError(f"{file.path} is damaged: some of its tensors stand there twice")
    absent = [name for name in parameters if name not in names.values() and not name.endswith(".bias")]
    if absent:
        raise ValueError(f"{file.path} has no tensors for parameters of its model: {listed(absent)}")
    wrong = [
        f"{tensor.name} {list(tensor.shape)} instead of {list(parameters[name].shape)}"
        for tensor in file.tensors
        if (name := names.get(tensor.name)) and tensor.shape != parameters[name].shape
    ]
    if wrong:
        raise ValueError(f"{file.path} is damaged: tensors are not of the sizes that its keys say: {listed(wrong)}")
