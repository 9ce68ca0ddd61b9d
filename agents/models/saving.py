"""A model as a plain transformers folder: weights or adapter, tokenizer, card."""

from pathlib import Path

from ..players.player_card import CARD, PlayerCard
from .adapter_folders import quiet_if, save_adapter
from .language_model import LanguageModel


def write_model(model: LanguageModel, card: PlayerCard, folder: Path, base: Path | None = None) -> None:
    """Writes a model, its tokenizer and its card as a plain transformers folder. base: for a model with an
    adapter, the folder of the base weights; then only the adapter is written."""
    folder.mkdir(parents=True, exist_ok=True)
    if model.adapter is not None and base is not None:
        save_adapter(model.model, model.adapter, folder, base)
    else:
        with quiet_if(True):
            model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    card.save(folder)
    mode = (folder / CARD).stat().st_mode  # as the umask has it; safetensors lets the owner alone read
    for file in folder.iterdir():
        file.chmod(mode)
