"""Models in GGUF files, as plain models of transformers: dense, trainable, and saved as any other.

The weights are unpacked by the package gguf and put where transformers puts them. What transformers leaves out of a file without a word
(rotary scaling, biases, the scale of queries, widths of heads) is set here from the file's keys and tensors, and a key or a tensor that
nothing is known about is refused by name: a model must not play with a part of it missing. Benchmarks compare with llama.cpp.
"""

import math
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .gguf_file import GGUFFile, GGUFTensor, read_gguf

FAMILIES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
}
"""Architectures of GGUF that are loaded here, and transformers' names for them."""

_MEANING = {
    "context_length": ("max_position_embeddings",),
    "embedding_length": ("hidden_size",),
    "block_count": ("num_hidden_layers",),
    "feed_forward_length": ("intermediate_size",),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps"),
    "attention.layer_norm_epsilon": ("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon"),
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_count": ("num_experts", "num_local_experts"),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
}
"""Keys of an architecture that one attribute of a configuration means, by the names that it has in one or another."""

_SET_APART = {
    "vocab_size",
    "attention.key_length",
    "attention.value_length",
    "attention.sliding_window_pattern",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "tensor_data_layout",
    "mm.tokens_per_image",
}
"""Keys that are dealt with one by one below, and the last three, which say nothing about the text model."""

_NEEDED = ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count")
_ROPE_FACTORS = "rope_freqs.weight"
_MAIN_ROPE_BASE = 10_000.0
"""llama.cpp's base of rotary positions where a file names none."""


def load_gguf(path: str | Path, *, dtype: torch.dtype | str, attention: str | None = None) -> Any:
    """The model of a file, on the CPU. dtype: of its weights; "auto", the file's where it holds whole numbers of one type, else float32.
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
    except (ArithmeticError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{file.path}: its keys make no model of transformers: {error}") from error
    weights = _weights(file, empty, kind)
    options = {"attn_implementation": attention} if attention else {}
    if True:
        model = type(empty).from_pretrained(None, config=config, state_dict=weights, dtype=kind, **options)
    _set_ends(model, file)
    return model


def package() -> Any:
    """The package gguf. Raises ValueError where it is not installed."""
    try:
        import gguf
    except ImportError as error:
        raise ValueError("GGUF files need the extra gguf: pip install 'sparring[gguf]'") from error
    return gguf


def configuration(file: GGUFFile) -> Any:
    """The configuration that the keys of a file mean. Raises ValueError for keys that are missing, or that nothing is known about."""
    from transformers import AutoConfig

    if file.architecture not in FAMILIES:
        raise ValueError(
            f"{file.path} holds a model of architecture {file.architecture!r}, which is not loaded from GGUF here; {', '.join(FAMILIES)} are: "
            "use the model's folder from the Hugging Face hub"
        )
    missing = [key for key in _NEEDED if file.key(key) is None]
    if missing:
        raise ValueError(f"{file.path} lacks {_list(missing)}, without which its model cannot be built; convert it again")
    kind = FAMILIES[file.architecture]
    known = AutoConfig.for_model(kind)
    try:
        return AutoConfig.for_model(kind, **_values(file, known))
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(f"{file.path}: its keys make no model of transformers: {error}") from error


def _values(file: GGUFFile, known: Any) -> dict[str, Any]:
    """Attributes of the configuration. known: one with its defaults."""
    prefix = f"{file.architecture}."
    values: dict[str, Any] = {}
    strange = []
    for name in (key.removeprefix(prefix) for key in file.keys if key.startswith(prefix)):
        value = file.key(name)
        attribute = next((a for a in _MEANING.get(name, ()) if hasattr(known, a)), None)
        if isinstance(value, list) and name != "attention.sliding_window_pattern":
            strange.append(f"{name} (which differs from layer to layer)")
        elif attribute is not None:
            values[attribute] = value
        elif name not in _SET_APART and not (name in ("expert_count", "expert_used_count") and not value):
            strange.append(name)
    if strange:
        raise ValueError(f"{file.path} says what transformers' {known.model_type} does not know: {_list(prefix + s for s in strange)}")
    heads = values["num_attention_heads"]
    values.setdefault("num_key_value_heads", heads)
    width = _head_width(file)
    if hasattr(known, "head_dim"):
        values["head_dim"] = width
    elif width * heads != values["hidden_size"]:
        raise ValueError(f"{file.path} has heads {width} wide (attention.key_length), which transformers' {known.model_type} cannot have")
    values |= _families(file, known, values, width)
    names = {tensor.name for tensor in file.tensors}
    for attribute, part in (("attention_bias", r"blk\.\d+\.attn_(q|k|v|output)\.bias"), ("mlp_bias", r"blk\.\d+\.ffn_(gate|up|down)\.bias")):
        if hasattr(known, attribute):
            values[attribute] = any(re.fullmatch(part, name) for name in names)
    tokens = file.keys.get
    return values | {
        "vocab_size": next((t.shape[0] for t in file.tensors if t.name == "token_embd.weight" and t.shape), 0),
        "tie_word_embeddings": "output.weight" not in names,
        "bos_token_id": tokens("tokenizer.ggml.bos_token_id"),
        "eos_token_id": tokens("tokenizer.ggml.eos_token_id"),
        "pad_token_id": tokens("tokenizer.ggml.padding_token_id"),
    }


def _head_width(file: GGUFFile) -> int:
    heads: int = file.key("attention.head_count")
    if not isinstance(heads, int) or heads < 1:
        raise ValueError(f"{file.path} is damaged: attention.head_count is {heads!r}")
    width: int = file.key("attention.key_length", file.key("embedding_length") // heads)
    for name in ("attention.value_length", "rope.dimension_count"):
        if file.key(name, width) != width:
            raise ValueError(f"{file.path}: {file.architecture}.{name} is {file.key(name)!r}, but keys are {width} wide; transformers has one width")
    return width


def _families(file: GGUFFile, known: Any, values: Mapping[str, Any], width: int) -> dict[str, Any]:
    """What a family's files leave to be known: rotary positions, Gemma's windows and the scale of its queries."""
    rope = {"rope_theta": float(file.key("rope.freq_base", _MAIN_ROPE_BASE)), **_scaling(file, width)}
    if not file.architecture.startswith("gemma"):
        return {"rope_parameters": rope}
    largest = {"gemma2": 46, "gemma3": 62}[file.architecture]  # layers of the 27B models, whose queries are scaled in another way
    period = file.key("attention.sliding_window_pattern", {"gemma2": 2, "gemma3": 6}[file.architecture])
    if "sliding_window" not in values:
        raise ValueError(f"{file.path} lacks {file.architecture}.attention.sliding_window, without which its layers cannot be told apart; convert it again")
    layers = range(values["num_hidden_layers"])
    slides = list(period) if isinstance(period, list) else [bool((n + 1) % period) if period else False for n in layers]
    swa = {"rope_type": "default", "rope_theta": float(file.key("rope.freq_base_swa", _MAIN_ROPE_BASE))}
    return {
        "rope_parameters": {"full_attention": rope, "sliding_attention": swa} if file.architecture == "gemma3" else rope,
        "query_pre_attn_scalar": values["hidden_size"] // values["num_attention_heads"] if len(layers) == largest else width,
        "layer_types": ["sliding_attention" if slides[n] else "full_attention" for n in layers],
    }


def _scaling(file: GGUFFile, width: int) -> dict[str, Any]:
    """How rotary positions are stretched, in the words of transformers."""
    factors = next((tensor for tensor in file.tensors if tensor.name == _ROPE_FACTORS), None)
    kind = file.key("rope.scaling.type", "linear" if "rope.scale_linear" in "".join(file.keys) else "none")
    factor = float(file.key("rope.scaling.factor", file.key("rope.scale_linear", 0.0)) or 1.0)
    original = file.key("rope.scaling.original_context_length")
    if kind in ("none", "linear") and factors is not None and (kind == "none" or factor == 1.0):
        return _llama3(file, _unpacked(file, factors), width)
    if factors is None and (kind == "none" or factor == 1.0):
        return {"rope_type": "default"}
    if factors is None and kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if factors is None and kind == "yarn" and original:
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    both = f" together with the tensor {_ROPE_FACTORS}" if factors is not None else ""
    raise ValueError(f"{file.path} stretches rotary positions in the way {kind!r}{both}, which is not known here; none, linear and yarn are")


def _llama3(file: GGUFFile, factors: np.ndarray[Any, Any], width: int) -> dict[str, Any]:
    """Llama 3.1's scaling, whose parameters are not in the file, from the divisors [width / 2] of the frequencies, which are."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    base = float(file.key("rope.freq_base", _MAIN_ROPE_BASE))
    frequencies = base ** (-np.arange(0, width, 2) / width)
    if factors.shape != frequencies.shape or not np.isfinite(factors).all() or factors.min() < 1:
        raise ValueError(f"{file.path}: its tensor {_ROPE_FACTORS} has no divisor of at least 1 for each of {width // 2} frequencies")
    factor = float(factors.max())
    if factor == 1.0:
        return {"rope_type": "default"}
    # Between the longest and the shortest waves, what is left of a frequency is linear in the turns that it makes in the original context.
    between = (factors > 1.0001) & (factors < factor * 0.9999)
    share = (1 / factors - 1 / factor) / (1 - 1 / factor)
    turns = frequencies / (2 * math.pi)
    guesses = {(4.0, 2.0**power) for power in range(6, 20)}
    if between.any():
        guesses |= {(4.0, round(float(original))) for original in (3 * share[between] + 1) / turns[between]}
    if between.sum() > 1:
        slope, offset = np.polyfit(turns[between], share[between], 1)
        if offset < 0:
            guesses.add((1 - 1 / float(offset), round(float(-slope / offset))))
    for high, original in sorted(guesses):
        rope = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": high, "original_max_position_embeddings": int(original)}
        config = LlamaConfig(head_dim=width, rope_parameters={"rope_theta": base, **rope}, max_position_embeddings=int(original * factor))
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
        if np.allclose(frequencies / scaled.numpy(), factors, rtol=1e-4):
            return rope
    raise ValueError(f"{file.path}: its tensor {_ROPE_FACTORS} divides frequencies in a way that is not Llama 3's, which alone is known here")


def _check(file: GGUFFile) -> None:
    """Raises ValueError for a file of another kind, or one that is not whole. The number of layers is checked here, before anything of
    that size is made."""
    kind = file.keys.get("general.type", "model")
    if kind != "model":
        raise ValueError(f"{file.path} holds no model but {kind!r} (general.type)")
    if file.keys.get("split.count", 1) != 1:
        raise ValueError(f"{file.path} is one of {file.keys['split.count']} parts; join them by llama-gguf-split --merge FIRST-PART WHOLE")
    for tensor in file.tensors:
        end = file.data + tensor.start + _bytes(file, tensor)
        if end > file.size:
            raise ValueError(f"{file.path} is cut off: its tensor {tensor.name!r} ends at byte {end}, the file has {file.size}; get the file again")
    layers = {found[1] for tensor in file.tensors if (found := re.match(r"blk\.(\d+)\.", tensor.name))}
    if file.architecture in FAMILIES and file.key("block_count") != len(layers):
        raise ValueError(f"{file.path} is damaged: it says that it has {file.key('block_count')!r} layers and holds tensors of {len(layers)}")


def _bytes(file: GGUFFile, tensor: GGUFTensor) -> int:
    gguf = package()
    try:
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(tensor.kind)]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{file.path}: its tensor {tensor.name!r} is of type {tensor.kind}, which the package gguf does not know; update it") from error
    if tensor.shape and tensor.shape[-1] % block:
        raise ValueError(f"{file.path} is damaged: rows of its tensor {tensor.name!r} are no whole number of blocks of {block}")
    return tensor.size // block * size


def _unpacked(file: GGUFFile, tensor: GGUFTensor) -> np.ndarray[Any, Any]:
    """A tensor's values, float32."""
    gguf = package()
    kind = gguf.GGMLQuantizationType(tensor.kind)
    size = _bytes(file, tensor)
    data = np.memmap(file.path, np.uint8, "r", file.data + tensor.start, (size,)) if size else np.zeros(0, np.uint8)
    try:
        values = gguf.dequantize(data.reshape(*tensor.shape[:-1], -1), kind)
    except NotImplementedError as error:
        raise ValueError(f"{file.path}: its tensor {tensor.name!r} is of type {kind.name}, which the package gguf cannot unpack") from error
    return np.asarray(values, np.float32).reshape(tensor.shape)


def _dtype(file: GGUFFile) -> torch.dtype:
    kinds = {package().GGMLQuantizationType(tensor.kind).name for tensor in file.tensors} - {"F32"}
    return {"F16": torch.float16, "BF16": torch.bfloat16}.get(*kinds, torch.float32) if len(kinds) == 1 else torch.float32


def _weights(file: GGUFFile, empty: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """The model's parameters by transformers' names. Raises ValueError for tensors that the model has no place for, and for parameters that
    the file has no tensor for; biases that are not there are zero."""
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

    config = empty.config
    processor = TENSOR_PROCESSORS.get(file.architecture, TensorProcessor)(config=config.to_dict())
    names = get_gguf_hf_weights_map(empty, processor)
    parameters = dict(empty.named_parameters())
    name_of = partial(_parameter, names)
    dropped = [t.name for t in file.tensors if t.name != _ROPE_FACTORS and name_of(t.name) not in parameters]
    if dropped:
        raise ValueError(f"{file.path} holds tensors that transformers' {config.model_type} has no place for: {_list(dropped)}")
    sizes = dict.fromkeys(parameters, 0)
    for tensor in file.tensors:
        if tensor.name != _ROPE_FACTORS:
            sizes[name_of(tensor.name)] += tensor.size
    absent = [name for name, size in sizes.items() if not size and not name.endswith(".bias")]
    if absent:
        raise ValueError(f"{file.path} has no tensors for these parameters of the model: {_list(absent)}")
    wrong = [f"{name} {list(parameters[name].shape)}" for name, size in sizes.items() if size not in (0, parameters[name].numel())]
    if wrong:
        raise ValueError(f"{file.path}: its tensors are not of the sizes that its keys say: {_list(wrong)}")
    done: dict[str, Any] = {"tensors": {}}
    for tensor in file.tensors:
        if tensor.name != _ROPE_FACTORS:
            placed = processor.process(_unpacked(file, tensor), tensor.name, tensor_key_mapping=names, parsed_parameters=done)
            if placed.name is not None:
                name = names[placed.name]
                done["tensors"][name] = torch.from_numpy(np.array(placed.weights)).reshape(parameters[name].shape).to(dtype)
    return {name: done["tensors"].get(name, torch.zeros(p.shape, dtype=dtype)).to(dtype) for name, p in parameters.items()}


def _parameter(names: Mapping[str, str], tensor: str) -> str:
    """transformers' name for a tensor; its own where there is none. Experts lie together in parameters that are no `weight`."""
    return names.get(tensor) or names.get(tensor.removesuffix(".weight")) or tensor


def _set_ends(model: Any, file: GGUFFile) -> None:
    """What ends a reply: the end of a text, of a turn, of a message."""
    ids = {file.keys.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")} - {None}
    model.generation_config.eos_token_id = sorted(ids) or None


def _list(names: Iterable[str], most: int = 5) -> str:
    """Names as they are shown, the first of many."""
    every = [ascii(name)[1:-1] for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
