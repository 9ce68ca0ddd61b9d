"""From the keys of a GGUF file to the configuration of its model in transformers.

Every key of the file's architecture is either set in the configuration or refused by name. What a file leaves to the program that reads it
is as llama.cpp has it: the windows and the scale of queries of Gemma, Llama 3's scaling of rotary positions, which is in a tensor.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from .gguf_file import GGUFFile, values_of

FAMILIES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "phi3": "phi3",
}
"""Architectures of GGUF that are loaded here, each compared with llama.cpp, and transformers' names for them."""

ROPE_FACTORS = "rope_freqs.weight"

_MEANING = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
"""Keys of an architecture that mean one attribute of the configuration."""

_PATTERN = "attention.sliding_window_pattern"
_SET_APART = {
    "vocab_size",
    "attention.key_length",
    "attention.value_length",
    _PATTERN,
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
"""Keys that are dealt with one by one below; the last three say nothing about the text model."""

_NO_EXPERTS = ("expert_count", "expert_used_count")
"""Keys that may be there with the value 0."""

_NEEDED = (
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.layer_norm_rms_epsilon",
)
_BASE = 10_000.0
"""llama.cpp's base of rotary positions where a file names none."""

_PERIODS = {"gemma2": 2, "gemma3": 6}
"""Every so many-th layer sees all positions, the others a window."""

_LARGEST = {"gemma2": 46, "gemma3": 62}
"""Layers of the 27B models, whose queries are scaled by hidden size and number of heads, not by the width of a head."""


def configuration(file: GGUFFile) -> Any:
    """Raises ValueError for keys that are missing, and for those that nothing is known about."""
    from transformers import AutoConfig

    if file.architecture not in FAMILIES:
        raise ValueError(
            f"{file.path} holds a model of architecture {file.architecture!r}, which is not loaded from GGUF here "
            f"({', '.join(FAMILIES)} are): use the model's folder from the Hugging Face hub"
        )
    missing = [key for key in _NEEDED if not _positive(file.key(key))]
    if missing:
        raise ValueError(f"{file.path} has no sensible {listed(missing)}, without which its model cannot be built: convert it again")
    known = AutoConfig.for_model(FAMILIES[file.architecture])
    values = _attributes(file, known)
    values |= _heads(file, known, values)
    values |= _positions_and_windows(file, values)
    values |= _of_tensors(file, known)
    for role in ("bos", "eos"):
        values[f"{role}_token_id"] = file.keys.get(f"tokenizer.ggml.{role}_token_id")
    values["pad_token_id"] = file.keys.get("tokenizer.ggml.padding_token_id")
    try:
        return type(known)(**values)
    except Exception as error:  # the library's own checks of a configuration have no common type
        raise ValueError(f"{file.path}: its keys make no model of transformers: {' '.join(str(error).split())}") from error


def listed(names: Iterable[str], most: int = 5) -> str:
    """Names as they are shown, the first of many, without control characters."""
    every = [ascii(name)[1:-1] for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**31


def _number(file: GGUFFile, name: str, default: float) -> Any:
    """A key of the architecture that is a number above 0."""
    value = file.key(name, default)
    if not _positive(value):
        raise ValueError(f"{file.path} is damaged: {file.architecture}.{name} is {value!r}")
    return value


def _attributes(file: GGUFFile, known: Any) -> dict[str, Any]:
    """What keys say by themselves. known: a configuration with its defaults."""
    prefix = f"{file.architecture}."
    values: dict[str, Any] = {}
    strange = []
    for key in file.keys:
        name = key.removeprefix(prefix)
        value = file.key(name)
        attribute = _MEANING.get(name)
        if not key.startswith(prefix):
            continue
        if isinstance(value, list) and name != _PATTERN:
            strange.append(f"{key} (other values in other layers)")
        elif attribute is not None and hasattr(known, attribute):
            values[attribute] = value
        elif name not in _SET_APART and not (name in _NO_EXPERTS and value == 0):
            strange.append(key)
    if strange:
        raise ValueError(
            f"{file.path} says of its model what transformers' {known.model_type} cannot express: {listed(strange)}; "
            "use the model's folder from the Hugging Face hub"
        )
    return values


def _heads(file: GGUFFile, known: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Number and width of heads."""
    heads = values["num_attention_heads"]
    width = _number(file, "attention.key_length", values["hidden_size"] // heads)
    for name in ("attention.value_length", "rope.dimension_count"):
        if file.key(name, width) != width:
            raise ValueError(
                f"{file.path}: {file.architecture}.{name} is {file.key(name)!r} where heads are {width!r} wide; "
                f"transformers' {known.model_type} has one width for both"
            )
    if not hasattr(known, "head_dim") and width * heads != values["hidden_size"]:
        raise ValueError(
            f"{file.path} has {heads} heads that are {width!r} wide, and transformers' {known.model_type} can only "
            f"have heads that share the hidden size, {values['hidden_size']}"
        )
    return {"num_key_value_heads": values.get("num_key_value_heads", heads), "head_dim": width}


def _of_tensors(file: GGUFFile, known: Any) -> dict[str, Any]:
    """What is known by the tensors that are there."""
    names = {tensor.name for tensor in file.tensors}
    embedding = next((tensor.shape for tensor in file.tensors if tensor.name == "token_embd.weight"), ())
    values: dict[str, Any] = {
        "vocab_size": embedding[0] if embedding else 0,
        "tie_word_embeddings": "output.weight" not in names,
    }
    biases = {"attention_bias": r"blk\.\d+\.attn_(q|k|v|output)\.bias", "mlp_bias": r"blk\.\d+\.ffn_(gate|up|down)\.bias"}
    for attribute, pattern in biases.items():
        if hasattr(known, attribute):
            values[attribute] = any(re.fullmatch(pattern, name) for name in names)
    return values


def _positions_and_windows(file: GGUFFile, values: Mapping[str, Any]) -> dict[str, Any]:
    rope = {"rope_theta": float(_number(file, "rope.freq_base", _BASE)), **_rope_scaling(file, values["head_dim"])}
    family = file.architecture
    if family not in _PERIODS:
        return {"rope_parameters": rope}
    if "sliding_window" not in values:
        raise ValueError(f"{file.path} lacks {family}.attention.sliding_window, which its layers need: convert it again")
    layers = range(values["num_hidden_layers"])
    period = file.keys.get(f"{family}.{_PATTERN}", _PERIODS[family])
    if not isinstance(period, int | list):
        raise ValueError(f"{file.path} is damaged: {family}.{_PATTERN} is {period!r}")
    slides = period if isinstance(period, list) else [period > 0 and (n + 1) % period != 0 for n in layers]
    if len(slides) != len(layers):
        raise ValueError(f"{file.path} is damaged: {family}.{_PATTERN} has {len(slides)} values for {len(layers)} layers")
    windowed = {"rope_type": "default", "rope_theta": float(_number(file, "rope.freq_base_swa", _BASE))}
    scaled_by_all = len(layers) == _LARGEST[family]
    scale = values["hidden_size"] // values["num_attention_heads"] if scaled_by_all else values["head_dim"]
    return {
        "rope_parameters": {"full_attention": rope, "sliding_attention": windowed} if family == "gemma3" else rope,
        "query_pre_attn_scalar": scale,
        "layer_types": ["sliding_attention" if slide else "full_attention" for slide in slides],
    }


def _rope_scaling(file: GGUFFile, width: int) -> dict[str, Any]:
    """How rotary positions are stretched, in the words of transformers. width: of a head."""
    by_tensor = any(tensor.name == ROPE_FACTORS for tensor in file.tensors)
    key = "rope.scaling.factor" if file.key("rope.scaling.factor") else "rope.scale_linear"
    factor = float(_number(file, key, 1.0) if file.key(key) else 1.0)  # 0 means that there is none
    kind = file.key("rope.scaling.type", "linear" if factor != 1.0 else "none")
    original = _number(file, "rope.scaling.original_context_length", file.key("context_length"))
    if kind == "none" or factor == 1.0:
        return _llama3(file, width) if by_tensor else {"rope_type": "default"}
    if kind == "linear" and not by_tensor:
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn" and not by_tensor:
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    beside = f" beside the tensor {ROPE_FACTORS}" if by_tensor else ""
    raise ValueError(
        f"{file.path} stretches rotary positions in the way {kind!r}{beside}, which is not known here (linear, yarn and "
        "Llama 3's are): use the model's folder from the Hugging Face hub"
    )


def _llama3(file: GGUFFile, width: int) -> dict[str, Any]:
    """The parameters of Llama 3's scaling, from the divisors of the frequencies that llama.cpp keeps in their place."""
    base = float(_number(file, "rope.freq_base", _BASE))
    frequencies = base ** (-np.arange(0, width, 2) / width)
    divisors = values_of(file, next(tensor for tensor in file.tensors if tensor.name == ROPE_FACTORS))
    if divisors.shape == frequencies.shape and np.all(divisors == 1):
        return {"rope_type": "default"}
    if divisors.shape == frequencies.shape and np.all(divisors >= 1) and np.all(np.isfinite(divisors)):
        for high, original in _guesses(frequencies / (2 * math.pi), divisors):
            rope = {
                "rope_type": "llama3",
                "factor": float(divisors.max()),
                "low_freq_factor": 1.0,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
            if np.allclose(frequencies / _scaled(rope, base, width), divisors, rtol=1e-4):
                return rope
    raise ValueError(
        f"{file.path}: its tensor {ROPE_FACTORS} divides the {width // 2} rotary frequencies in another way than "
        "Llama 3 does, which alone is known here: use the model's folder from the Hugging Face hub"
    )


def _guesses(turns: np.ndarray[Any, Any], divisors: np.ndarray[Any, Any]) -> list[tuple[float, int]]:
    """Pairs of high_freq_factor and original context that may explain the divisors, where low_freq_factor is 1.

    turns: of each frequency in one position. Between the longest and the shortest waves, the share that is left of a frequency is linear in
    the turns that it makes in the original context: 0 at one turn, 1 at `high` turns.
    """
    factor = divisors.max()
    between = (divisors > 1.0001) & (divisors < factor * 0.9999)
    share = (1 / divisors - 1 / factor) / (1 - 1 / factor)
    pairs = {(4.0, 2**power) for power in range(6, 20)}
    pairs |= {(4.0, round(float(original))) for original in (3 * share[between] + 1) / turns[between]}
    if between.sum() > 1:
        slope, offset = (float(x) for x in np.polyfit(turns[between], share[between], 1))
        if offset < 0:
            pairs.add((round(1 - 1 / offset, 4), round(-slope / offset)))
    return sorted(pairs)


def _scaled(rope: Mapping[str, Any], base: float, width: int) -> np.ndarray[Any, Any]:
    """The frequencies [width / 2] that transformers computes."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = LlamaConfig(head_dim=width, rope_parameters={"rope_theta": base, **rope})
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    return np.asarray(frequencies)
