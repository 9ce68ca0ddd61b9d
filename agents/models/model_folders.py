"""Checks model folders, and reports in one sentence which file is wrong, what it contains, and what is
accepted.

transformers lets much of this pass: it initialises missing tensors at random and drops superfluous ones.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..text import one_line

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
GENERATION = "generation_config.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SIZES = (("num_hidden_layers", "n_layer"), ("vocab_size",), ("hidden_size", "n_embd"), ("intermediate_size", "n_inner"))
"""Settings from which a model's size follows, with the alternative names that configurations use."""
_CHOSEN = ("attn_implementation", "attn_implementation_internal", "experts_implementation", "experts_implementation_internal")
"""Settings that may name code instead of an implementation."""
_MASKS = re.compile(r"\.((attn|attention)\.bias|masked_bias|inv_freq|position_ids)$")
"""Tensors that are recomputed; old files still contain them."""
_WHOLE = ("I", "U", "BOOL")
"""Prefixes of safetensors' names of integer types."""
_LARGER = 16
"""A configuration may ask for at most this many parameters per byte of weights: packed weights hold several
per byte."""


def require_readable(folder: Path) -> None:
    """Raises ValueError for a model folder whose configuration or weights cannot be read, contradict each
    other in size, or name code of the hub."""
    config = read_object(folder / CONFIG)
    if (folder / GENERATION).is_file():  # transformers leaves out one that it cannot read, and with it what ends a reply
        read_object(folder / GENERATION)
    tensors = {key: tensor for file in _weight_files(folder) for key, tensor in _tensors(file).items()}
    whole = [key for key, (_, kind) in tensors.items() if key.endswith(".weight") and kind.startswith(_WHOLE)]
    if whole and "quantization_config" not in config:
        raise ValueError(
            f"the model weights in {str(folder)!r} are whole numbers ({_few(whole[0], len(whole))}), and config.json has no "
            "quantization_config that says what they stand for: save them as floats"
        )
    shapes = [shape for shape, _ in tensors.values()]
    numbers = sum(_product(shape) for shape in shapes)
    for name, part in _parts(config):
        code = [key for key in part if key.endswith(_CHOSEN) and "/" in str(part[key])]
        if code:
            raise ValueError(
                f"{folder / CONFIG}: {name}{code[0]} names code of the hub ({one_line(part[code[0]], 60)}), which is not run here: "
                "leave it out, or name eager or sdpa"
            )
        for names in _SIZES:
            size = _size(part, names)
            if size is not None and (not isinstance(size, int) or size < 1):
                raise ValueError(f"{folder / CONFIG}: {name}{names[0]} must be a whole number of at least 1, it is {one_line(size, 40)}")
        layers, vocabulary, width, inner = (_size(part, names) for names in _SIZES)
        if (layers or 1) > len(shapes) or (width or 1) * max(vocabulary or 1, inner or 1) > _LARGER * numbers:
            asked = f"{layers} layers, width {width} and {inner}, {vocabulary} tokens"
            raise ValueError(
                f"{folder / CONFIG} is not of these weights: its sizes ({asked}) need more than the {numbers:,} numbers in "
                f"{len(shapes):,} tensors that they hold"
            )


def _parts(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A configuration and its nested text configuration, each with the prefix of its settings' names."""
    yield "", config
    if isinstance(config.get("text_config"), dict):
        yield "text_config.", config["text_config"]


def _size(config: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError with what the file contains instead."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(read, dict):
        raise ValueError(f"{path} cannot be read: it holds no object but a {type(read).__name__}")
    return read


def require_objects(folder: Path) -> None:
    """Raises ValueError where a file of a tokenizer contains no JSON object."""
    for name in (CONFIG, "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json"):
        if (folder / name).is_file():
            read_object(folder / name)


def _weight_files(folder: Path) -> list[Path]:
    """The weight files that transformers reads. Raises ValueError where there are none."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        named = read_object(folder / INDEX).get("weight_map")
        if not isinstance(named, dict) or not named or not all(isinstance(file, str) for file in named.values()):
            raise ValueError(f"{folder / INDEX} cannot be read: it has no weight_map that names the file of each tensor")
        files = [folder / file for file in sorted(set(named.values()))]
        for file in files:
            if not file.is_file():
                raise ValueError(f"{file} is missing: {INDEX} names it among the model weights")
        return files
    others = sorted(folder.glob("*.safetensors"))
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles and not others:
        raise ValueError(
            f"{folder} has its model weights in a pickle alone ({pickles[0]}), which may run any code when it is read: "
            f"save them as {WEIGHTS}, with model.save_pretrained"
        )
    if not others:
        raise ValueError(f"no model weights in {str(folder)!r}: it has no {WEIGHTS}")
    return others


def _tensors(file: Path) -> dict[str, tuple[list[int], str]]:
    """Shape and dtype name of each tensor in a file."""
    try:
        with safe_open(str(file), framework="pt") as opened:
            slices = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118  it is no mapping
            return {key: (part.get_shape(), part.get_dtype()) for key, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"the model weights in {str(file)!r} cannot be read, the file is cut off or damaged: {one_line(error)}") from error


def _product(shape: list[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def require_whole(model: Any, info: Mapping[str, Collection[Any]], path: str) -> None:
    """Raises ValueError where a model's weights do not match its configuration. info: what `from_pretrained`
    reports about them."""
    kind = type(model).__name__
    shapes = sorted((str(key), tuple(stored), tuple(wanted)) for key, stored, wanted in info["mismatched_keys"])
    if shapes:
        key, stored, wanted = shapes[0]
        raise ValueError(
            f"the model weights in {path!r} do not have the shapes that config.json asks for: {_few(key, len(shapes))} of {list(stored)}, "
            f"not {list(wanted)}"
        )
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        raise ValueError(
            f"the model weights in {path!r} are not whole: they lack {_few(missing[0], len(missing))} of {kind}, the model of config.json"
        )
    # Heads of other tasks, towers of pictures and layers of other models beside it are none of a language
    # model's; what lies in its own numbered layers is.
    modules = {name for name, _ in model.named_modules()}
    strange = [key for key in sorted(map(str, info["unexpected_keys"])) if _in_layers(key, modules)]
    if strange:
        raise ValueError(
            f"the model weights in {path!r} are of another model than config.json says: {kind} has no place for "
            f"{_few(strange[0], len(strange))}"
        )


def _in_layers(key: str, modules: Collection[str]) -> bool:
    match = re.match(r"(.+?)\.\d+\.", key)
    return match is not None and match[1] in modules and not _MASKS.search(key)


def _few(first: str, count: int) -> str:
    return f"tensor {one_line(first, 100)}" + (f" and {count - 1} more" if count > 1 else "")


def require_finite(model: Any, path: str) -> None:
    """Raises ValueError for a weight that is NaN or infinite."""
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and weight.element_size() > 1 and not _finite(weight.detach()):
            raise ValueError(f"the model weights in {path!r} are damaged: tensor {name} holds numbers that are NaN or infinite")


def _finite(weight: Tensor) -> bool:
    # A sum is far quicker than a look at each number, and finite where all are, but for very large ones.
    return bool(weight.sum(dtype=torch.float32).isfinite()) or bool(weight.isfinite().all())


def require_known_ids(model: Any, tokenizer: Any, path: str) -> None:
    """Raises ValueError where a tokenizer has ids beyond the model's embedding."""
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= rows:
        raise ValueError(
            f"the tokenizer in {path!r} does not fit its model: it has ids up to {highest}, the model embeds {rows} tokens; save a model "
            "that was given them by model.resize_token_embeddings"
        )
