"""A trained model as a plain transformers folder, with a card that says what it is and where it comes from."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from sparring.agents.models.adapter_folders import quiet_if
from sparring.agents.models.language_model import LanguageModel, write_model
from sparring.agents.models.loading import load_language_model, load_tokenizer
from sparring.agents.names import is_model, model_card, model_location

from .locks import unfinished
from .model_card import write_card


def export(spec: str, folder: Path, *, dtype: str | None = None) -> Path:
    """Writes the model of a name to a new or empty folder: weights, tokenizer, chat template, README.

    dtype: of the weights written, None as they are stored. Raises ValueError for a name without weights and for a folder in use.
    """
    if not is_model(spec):
        raise ValueError(f"{spec} has no weights to export; name a model, as in RUN@latest")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is no empty folder; choose a new one")
    place = model_location(spec)
    model = load_language_model(place, name=spec, device="cpu", dtype="auto")
    if dtype is not None:
        model.model.to(getattr(torch, dtype))
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = unfinished(folder)
    try:
        write_model(model, model_card(spec), aside)
        (aside / "README.md").write_text(write_card(spec, model, model_card(spec), folder.name), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def require_saveable(model: LanguageModel) -> None:
    """Raises ValueError for a model that can be loaded but not saved, or whose tokenizer would be read back as another one. All but the
    weights is saved once, and dropped."""
    quantizer = getattr(model.model, "hf_quantizer", None)
    try:
        if quantizer is None:
            with tempfile.TemporaryDirectory() as folder, quiet_if(True):
                model.model.save_pretrained(folder, state_dict={})
                model.tokenizer.save_pretrained(folder)
                model.model.config.save_pretrained(folder)  # which several processes leave to the first one
                _require_same_ids(model.tokenizer, folder)
        elif not quantizer.is_serializable():
            raise ValueError(f"transformers does not save weights of the kind {quantizer.quantization_config.quant_method!s}")
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"{model.name} can play but its checkpoints cannot be saved, so it cannot be trained: {error}; use a folder with plain weights"
        ) from error


_PROBES = ("It is 1984, isn't it?\n\nI know the word!  Room 101.", " in 2026", "na\u00efve caf\u00e9s 12345\tend", "100% x=3.14 (A-Z)")
"""Texts on which tokenizers differ: digits, white space, apostrophes, accents, signs."""


def _require_same_ids(tokenizer: Any, folder: str) -> None:
    """Raises ValueError where the tokenizer that is saved in a folder makes other ids once it is read back."""
    if not type(tokenizer).__module__.startswith("transformers."):
        return  # its code is read back only where the user trusts it
    again = load_tokenizer(folder)
    for text in _PROBES:
        ids, ids_again = (one.encode(text, add_special_tokens=False) for one in (tokenizer, again))
        if ids != ids_again:
            raise ValueError(f"its tokenizer, once saved, is read back as {type(again).__name__} with other token ids for {text!r}")
