"""LoRA adapters of one model (extra `peft`): their folders, and a batch whose streams use different adapters
in one forward pass.

The base model's products are computed for all tokens at once; an adapter's part is computed for its own
tokens only.
"""

import copy
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..text import one_line
from .manifest import verify_model
from .memory import out_of_memory
from .model_folders import read_object

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
"""peft's prefix of weight names in files."""

Places = Mapping[str, Tensor]
"""For each adapter the indices [n] int64 of the packed tokens that use it. All other tokens use the base
model alone."""


def load_adapter(model: Any, folder: str | Path, name: str) -> None:
    """Loads an adapter folder into a transformers model. Raises ValueError for a missing file, for an adapter
    that cannot be mixed in a batch, and as `verify_model`."""
    path = Path(folder)
    verify_model(path)
    for file in (CONFIG, WEIGHTS):
        if not (path / file).is_file():
            raise ValueError(f"{folder} is no adapter folder: it has no {file}")
    settings = read_object(path / CONFIG)
    unfit = [key for key in ("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices") if settings.get(key)]
    if settings.get("peft_type") != "LORA" or unfit or settings.get("bias", "none") != "none":
        what = ", ".join(unfit) or f"{settings.get('peft_type')} with bias {settings.get('bias')}"
        raise ValueError(f"{folder}: only plain LoRA adapters of linear layers play together in one batch; this one has {what}")
    peft()
    before = [(layer, layer._active_adapter) for layer in lora_layers(model)]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    conversions = vars(model).get("_weight_conversions")
    try:
        with warnings.catch_warnings(), quiet_if(True), unreported():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several adapters are what is wanted
            info = model.load_adapter(str(path), adapter_name=name)
        # NOTE: what transformers notes here is how it renamed the adapter's weights; it would save the
        # model's own under such names.
        model._weight_conversions = conversions
        _require_fitting(model, name, info)
        if before:  # NOTE: transformers makes the new adapter the active one, and peft freezes those that are not
            for layer, active in before:
                layer._active_adapter = active
            for parameter in trainable:
                parameter.requires_grad_(True)
    except Exception as error:  # peft raises what it comes across in a folder that is not as it should be
        model._weight_conversions = conversions
        forget_adapter(model, name)
        if out_of_memory(error):
            raise
        raise ValueError(f"the adapter in {folder} does not fit {type(model).__name__}: {one_line(error)}") from error


def _require_fitting(model: Any, name: str, info: Any) -> None:
    """Raises ValueError where an adapter is incomplete, has layers that the model lacks, or cannot be mixed
    in a batch."""
    # NOTE: transformers counts the weights of all other adapters of a model as missing.
    missing = sorted(key for key in info.missing_keys if f".{name}." in key)
    strange = sorted(info.unexpected_keys)
    if missing or strange:
        raise ValueError(f"its weights lack {missing[0]}" if missing else f"the model has no place for {strange[0]}")
    head = model.get_output_embeddings()
    adapted = [layer for layer in lora_layers(model) if name in layer.lora_A or name in layer.lora_embedding_A]
    if any(layer is head or not isinstance(layer.base_layer, nn.Linear) for layer in adapted):
        raise ValueError("an adapter of the head, or of anything but linear layers, cannot play together with others in one batch")
    if not all(weight.isfinite().all() for layer in adapted for weight in (layer.lora_A[name].weight, layer.lora_B[name].weight)):
        raise ValueError("its weights hold numbers that are NaN or infinite")


def forget_adapter(model: Any, name: str) -> None:
    """Removes an adapter, fully or partly loaded, from a model; layers without any other adapter become plain
    ones."""
    model._hf_peft_config_loaded = True  # also where loading did not come so far
    for at, layer in [(at, layer) for at, layer in model.named_modules() if any(layer is other for other in lora_layers(model))]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Adapter .* was active")
            layer.delete_adapter(name)
        if not layer.lora_A and not layer.lora_embedding_A:
            _replace(model, at, layer.get_base_layer())
    getattr(model, "peft_config", {}).pop(name, None)
    if not getattr(model, "peft_config", None):
        _leave_no_trace(model)


def _replace(model: Any, at: str, layer: Any) -> None:
    parent, _, child = at.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def _leave_no_trace(model: Any) -> None:
    """Removes what peft leaves on a model whose last adapter is gone."""
    model._hf_peft_config_loaded = False
    vars(model).pop("peft_config", None)


@contextmanager
def quiet_if(quiet: bool) -> Iterator[None]:
    """Hides transformers' progress bars for reading and writing a folder if `quiet`."""
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    if quiet:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


@contextmanager
def unreported() -> Iterator[None]:
    """Hides transformers' tables of missing and superfluous tensors; our own checks cover those that
    matter."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def peft() -> Any:
    """The library peft. Raises ValueError where it is not installed."""
    try:
        import peft as found
    except ImportError as error:
        raise ValueError("adapters need the extra peft: pip install -e '.[peft]' in the checkout") from error
    return found


def adapter_base(folder: Path) -> Path | None:
    """The model folder that an adapter folder was trained on; None for a folder without an adapter, and for a
    base elsewhere."""
    if not (folder / CONFIG).is_file():
        return None
    base = Path(os.path.normpath(folder / str(read_object(folder / CONFIG).get("base_model_name_or_path"))))
    return base if (base / "config.json").is_file() else None


def save_adapter(model: Any, name: str, folder: Path, base: Path) -> None:
    """Writes an adapter of a model, and the model's configuration. base: the folder of the model's weights,
    stored as a path relative to `folder`."""
    settings = copy.copy(model.peft_config[name])
    settings.base_model_name_or_path = os.path.relpath(base, folder)
    settings.inference_mode = True
    settings.save_pretrained(folder)
    weights = peft().get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    save_file({_PREFIX + key: value.detach().cpu().contiguous() for key, value in weights.items()}, folder / WEIGHTS)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)


def read_adapter(folder: Path) -> dict[str, Tensor]:
    """The weights in an adapter folder, by their names in the model. Raises ValueError as `verify_model`."""
    verify_model(folder)
    return {key.removeprefix(_PREFIX): value for key, value in load_file(folder / WEIGHTS).items()}


def merge(model: Any) -> None:
    """Merges a model's only adapter into its weights and removes all traces of adapters."""
    for name, layer in [(name, m) for name, m in model.named_modules() if any(m is layer for layer in lora_layers(model))]:
        layer.merge(adapter_names=list(layer.lora_A))
        _replace(model, name, layer.get_base_layer())
    _leave_no_trace(model)


@contextmanager
def active_adapter(model: Any, name: str | None) -> Iterator[None]:
    """Context in which only this adapter of a model is active in plain forward passes; None: no adapter."""
    layers = lora_layers(model)
    before = [(layer._disable_adapters, layer._active_adapter) for layer in layers]
    try:
        for layer in layers:
            layer._disable_adapters, layer._active_adapter = name is None, [name] if name else layer._active_adapter
        yield
    finally:
        for layer, (disabled, active) in zip(layers, before, strict=True):
            layer._disable_adapters, layer._active_adapter = disabled, active


def lora_layers(model: Any) -> list[Any]:
    """The layers of a model that hold adapters; [] if no adapter was ever loaded."""
    if not getattr(model, "_hf_peft_config_loaded", False):
        return []
    from peft.tuners.lora import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]


@contextmanager
def per_token(layers: Sequence[Any], places: Places) -> Iterator[None]:
    """Context in which each packed token uses its own adapter, whatever adapters are active outside."""
    # NOTE: peft's own switch also changes which parameters want gradients, and walks over all modules; this
    # runs at every step.
    before = [layer._disable_adapters for layer in layers]
    with ExitStack() as hooks:
        try:
            for layer in layers:
                layer._disable_adapters = True
                if any(name in layer.lora_A for name in places):
                    hooks.callback(layer.register_forward_hook(_adder(places)).remove)
            yield
        finally:
            for layer, disabled in zip(layers, before, strict=True):
                layer._disable_adapters = disabled


def _adder(places: Places) -> Any:
    def add(layer: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        """Adds scaling * B(A(x)) at each adapter's tokens; x [1, T, in], output [1, T, out]."""
        for name, at in places.items():
            if name in layer.lora_A:
                down, up = layer.lora_A[name], layer.lora_B[name]
                x = args[0][0].index_select(0, at).to(down.weight.dtype)
                output[0].index_add_(0, at, (up(down(x)) * layer.scaling[name]).to(output.dtype))

    return add
