"""Models of given sizes with random weights that talk: for measuring speed, where what is said does not matter."""

from dataclasses import replace
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sparring.agents.models.language_model import LanguageModel
from sparring.agents.models.loading import load_tokenizer
from sparring.agents.names import model_card, model_location
from sparring.agents.players.player_card import PlayerCard

SHAPES: dict[str, dict[str, Any]] = {
    "15M": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 6, "num_key_value_heads": 6},
    "100M": {"hidden_size": 768, "intermediate_size": 2560, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 4},
    "0.5B": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2},
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2},
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4},
}
"""Widths and depths as of models that people train: the last three are those of Qwen2.5."""
VOCABULARY = {"15M": 1792, "100M": 32_000, "0.5B": 151_936, "1.5B": 151_936, "7B": 152_064}
MEAN_REPLY = 16
"""Mean length in tokens of what such a model says; the embedded model's utterances have about ten."""


def random_model(size: str, device: torch.device, compiler: str | None = None) -> tuple[LanguageModel, PlayerCard]:
    """A model of that size with the embedded model's tokenizer and prompts. Its replies end by chance, after MEAN_REPLY tokens on average.
    compiler: see PackedModel.

    Raises ValueError for a size that is not in SHAPES.
    """
    if size not in SHAPES:
        raise ValueError(f"unknown size {size!r}; known: {', '.join(SHAPES)}")
    tokenizer = load_tokenizer(str(model_location("mini")))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY[size], max_position_embeddings=4096, tie_word_embeddings=True, initializer_range=0.02, **SHAPES[size]
    )
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.device(device):
        model: Any = LlamaForCausalLM(config)
    model = model.to(kind).eval()
    end = tokenizer.eos_token_id
    model.get_output_embeddings().register_forward_hook(_talk(len(tokenizer), end))
    card = model_card("mini")
    return LanguageModel(model, tokenizer, name=f"random {size}", compiler=compiler), replace(card, max_new_tokens=4 * MEAN_REPLY)


def _talk(known: int, end: int) -> Any:
    """Makes every token of the tokenizer about as likely, no other token possible, and the end token 1 in MEAN_REPLY."""
    bias = torch.log(torch.tensor((known - 1) / (MEAN_REPLY - 1)))

    def hook(_module: Any, _args: Any, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        logits[..., known:] = -torch.inf
        logits[..., end] += bias.to(logits)
        return logits

    return hook
