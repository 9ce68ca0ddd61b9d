"""Loads causal models and tokenizers: from a folder, a GGUF file or the hub, in any precision, also in four
bits."""

import datetime
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..text import one_line
from .adapter_folders import CONFIG, adapter_base, load_adapter, merge, quiet_if, unreported
from .devices import pick_device
from .fidelity import require_faithful
from .gguf import load_gguf
from .gguf_file import is_gguf, read_gguf
from .gguf_tokenizer import gguf_tokenizer
from .language_model import LanguageModel
from .manifest import verify_model
from .memory import out_of_memory
from .model_folders import require_finite, require_known_ids, require_objects, require_readable, require_whole
from .precision import products, rounds


def load_language_model(
    path_or_id: str | Path,
    *,
    name: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    attn: str | None = None,
    trust_remote_code: bool = False,
    weight_version: str = "0",
    max_rows: int = 256,
    max_streams: int = 1024,
    max_length: int | None = None,
    max_memory: int | None = None,
    pool_memory: int | None = None,
    four_bit: bool = False,
    compiler: str | None = None,
    day: datetime.date | None = None,
) -> LanguageModel:
    """Loads a language model from a model folder or hub id by plain `from_pretrained`, from a GGUF file, or
    from a LoRA run's adapter folder, which is merged into its base.

    device: see `pick_device`. dtype: of the weights; None means bfloat16 on a GPU and float32 on a CPU,
    "auto" the stored one. On a CPU bfloat16 means float32 weights whose products in play are rounded, and
    None lets a trial decide: see precision.py. attn: attention implementation outside generation (training).
    four_bit: weights of linear layers in four bits (NF4, arXiv 2305.14314) by bitsandbytes, with products in
    `dtype`. compiler: see HFLoop. day: see ChatFormat. Raises ValueError with what is missing, and for a
    model of a run's checkpoint that is not what the run wrote.
    """
    path = str(path_or_id)
    verify_model(Path(path))
    target = pick_device(device)
    tokenizer = load_tokenizer(path, trust_remote_code=trust_remote_code)
    if isinstance(dtype, str) and dtype != "auto":
        dtype = getattr(torch, dtype)
    rounded = rounds(dtype, target) and not four_bit
    kind = torch.float32 if rounded else dtype or (torch.bfloat16 if target.type == "cuda" else torch.float32)
    if four_bit and is_gguf(path):
        raise ValueError(f"{path}: weights in four bits (NF4) are made from a model folder, as sparring export {path} FOLDER writes it")
    options: dict[str, Any] = {"quantization_config": _four_bits(kind)} if four_bit else {}
    base = adapter_base(Path(path))
    if base is not None:
        verify_model(base)
    source = str(base or path)
    if is_gguf(path):
        with quiet_if(True), unreported():
            model = load_gguf(path, dtype=kind, attention=attn)
    else:
        model = _from_folder(source, kind, attn, trust_remote_code, options)
    _plain_after_gguf(model)
    require_finite(model, source)
    require_known_ids(model, tokenizer, path)
    _trainable_in_four_bits(model)
    if base is not None:
        if getattr(model, "is_quantized", False):
            model.dequantize()  # what an adapter adds is finer than four bits
        load_adapter(model, path, "stored")
        merge(model)
    model = _aligned(model.to(target).eval())
    loaded = LanguageModel(
        model,
        tokenizer,
        name=name or path,
        weight_version=weight_version,
        max_rows=max_rows,
        max_streams=max_streams,
        max_length=max_length,
        max_memory=max_memory,
        pool_memory=pool_memory,
        compiler=compiler,
        products=products(model, torch.bfloat16 if rounded else None if dtype is None else next(model.parameters()).dtype),
        day=day,
    )
    require_faithful(loaded.loop, loaded.name)
    return loaded


def _from_folder(source: str, kind: torch.dtype | str, attn: str | None, trust_remote_code: bool, options: Mapping[str, Any]) -> Any:
    """The complete model of a folder or hub id. kind: dtype of its weights. options: of from_pretrained.
    Raises ValueError with what is wrong."""
    from transformers import AutoConfig, AutoModelForCausalLM

    local = Path(source).is_dir()
    if local and not (Path(source) / CONFIG).is_file():
        require_readable(Path(source))
    try:
        with quiet_if(local), unreported():
            config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
            # Chosen here, whatever config.json names: it may be code from the hub.
            config._attn_implementation, config._experts_implementation = attn, None
            both: Any = AutoModelForCausalLM.from_pretrained(
                source,
                config=config,
                dtype=kind,
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
            model, info = both
    except Exception as error:  # transformers raises what it comes across in a folder that is not as it should be
        if out_of_memory(error):
            raise
        reason = str(error).partition("Model type should be one of")[0]  # the names of all families are no help
        raise ValueError(f"the model in {source!r} cannot be loaded: {one_line(reason)}") from error
    require_whole(model, info, source)
    return model


def _four_bits(kind: torch.dtype | str) -> Any:
    """transformers' quantisation setting. kind: dtype of products. Raises ValueError where bitsandbytes is
    not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError("weights in four bits need the extra qlora: pip install -e '.[qlora]' in the checkout")
    from transformers import BitsAndBytesConfig

    compute = torch.bfloat16 if kind == "auto" else kind
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)


def _trainable_in_four_bits(model: Any) -> None:
    """Makes a model with four-bit weights trainable and saveable.

    On a CPU bitsandbytes repacks such weights at their first use in evaluation mode, for products without
    gradients, so nothing below them would ever learn. transformers cannot save weights that it has read in
    four bits, as it tries to invert the conversion.
    """
    if getattr(model, "is_quantized", False):
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
        kept = [c for c in vars(model).get("_weight_conversions") or () if not any(map(_of_bitsandbytes, getattr(c, "operations", ())))]
        model._weight_conversions = kept


def _plain_after_gguf(model: Any) -> None:
    """Removes the GGUF mark from a model whose folder says that its weights came from a GGUF file: they are
    plain now, and transformers neither saves nor trains models with the mark."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None and str(getattr(quantizer.quantization_config.quant_method, "value", "")) == "gguf":
        quantizer.remove_quantization_config(model)


def _of_bitsandbytes(operation: Any) -> bool:
    return type(operation).__module__ == "transformers.integrations.bitsandbytes"


def _aligned(model: Any) -> Any:
    """The model with its weights at addresses as aligned as torch's own allocations. Weights read from a file
    lie at arbitrary offsets, where CPU kernels sum in another order: equal weights would not give equal
    results."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.data_ptr() % 64:
            tensor.data = tensor.data.clone()
    return model


def load_tokenizer(path: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model folder, GGUF file or hub id. Raises ValueError for a missing folder, and for
    one without a tokenizer."""
    from transformers import AutoTokenizer

    if is_gguf(path):
        return gguf_tokenizer(read_gguf(path))
    folder = Path(path)
    looks_local = folder.exists() or path.startswith((".", "/", "~")) or path.count("/") != 1
    if looks_local:
        if not folder.is_dir():
            raise ValueError(f"there is no model folder {path!r}")
        if not (folder / "config.json").is_file():
            raise ValueError(f"{path!r} is no model folder: it has no config.json")
        if not any(
            (folder / file).is_file()
            for file in (
                "tokenizer.json",
                "tokenizer.model",
                "tokenizer_config.json",
                "vocab.json",
                "vocab.txt",
            )
        ):
            raise ValueError(f"{path!r} has no tokenizer: save it there with tokenizer.save_pretrained")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # tokenizers raise what they come across in files that are not as they should be
        if looks_local:
            require_objects(folder)
            _require_config(path, trust_remote_code)
            raise ValueError(f"the tokenizer in {path!r} cannot be read: {one_line(error)}") from error
        offline = " (HF_HUB_OFFLINE is set, so the hub was not asked)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
        raise ValueError(f"{path!r} is neither a folder nor a model that the hub gave{offline}: {one_line(error)}") from error
    if not isinstance(tokenizer.chat_template, str | dict | None):
        raise ValueError(f"the tokenizer in {path!r} has a chat_template that is no text but {type(tokenizer.chat_template).__name__}")
    return tokenizer


def _require_config(path: str, trust_remote_code: bool) -> None:
    """Raises ValueError for a folder whose configuration transformers cannot use."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise ValueError(f"{path}/config.json cannot be used: {one_line(error)}") from error
