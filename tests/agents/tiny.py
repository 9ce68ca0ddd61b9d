"""Tiny tokenizers, templates and random models for the tests of this folder."""

import shutil
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from sparring.agents.engine import kernels
from sparring.agents.players.player_card import PlayerCard
from sparring.envs.games.prompts import TABOO_BRIEF

SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <s> </s> <|begin_of_text|> <|start_header_id|> <|end_header_id|> "
    "<|eot_id|> <bos> <start_of_turn> <end_of_turn> [INST] [/INST]"
).split()
PLAIN_ADDED = ["<think>", "</think>"]
"""Added tokens that are not marked special."""

TEMPLATES = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "templates").glob("*.jinja"))}
EOS = {
    "chatml": "<|im_end|>",
    "qwen": "<|im_end|>",
    "llama2": "</s>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "mistral": "</s>",
}

_TEXT = [
    "You are the attacker. The secret word is apple.",
    "You are the defender. Find the secret word. Begin.",
    "It is a fruit and it is red. Do you know what it is?",
    "I know the word! It is banana. system user assistant model",
]

_COMPILER = (sysconfig.get_config_var("CXX") or "none").split()[0]
needs_compiler = pytest.mark.skipif(
    not kernels.AVAILABLE and ("clang" in _COMPILER or shutil.which(_COMPILER) is None),
    reason="needs GCC when the package is installed",
)


@lru_cache(maxsize=1)
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT * 4, trainer)
    tokenizer.add_tokens(PLAIN_ADDED)
    return str(tokenizer.to_str())


def tiny_tokenizer(kind: str | None = "chatml", **options: Any) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of about 400 entries with the chat template of that kind, or without any."""
    options = {"eos_token": EOS.get(kind or "", "<|endoftext|>"), **options}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_trained()), **options)
    if kind is not None:
        tokenizer.chat_template = TEMPLATES[kind]
    return tokenizer


def tiny_model(kind: str = "llama", *, vocab: int = 420, length: int = 256, seed: int = 0, **options: Any) -> Any:
    """A random model: llama, untied, llama3 (scaled rotation), qwen2, qwen3, gpt2, mistral (window of 24 positions), gemma2 (capped logits,
    every other layer with a window), gemma3, gpt-oss (two experts), cohere and granite (scaled logits); with layers that carry a state:
    lfm2, falcon-h1, qwen3-next. options: of its configuration.
    """
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": length,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    shape.update(options)
    model: Any
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**{"tie_word_embeddings": True, **shape}))
    elif kind == "untied":
        model = LlamaForCausalLM(LlamaConfig(**{"tie_word_embeddings": False, **shape}))
    elif kind == "llama3":
        rotation = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        rotation["original_max_position_embeddings"] = 64
        model = LlamaForCausalLM(LlamaConfig(**{"rope_parameters": rotation, **shape}))
    elif kind == "gemma2":
        model = Gemma2ForCausalLM(Gemma2Config(**{"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 24, **shape}))
    elif kind == "gemma3":
        model = Gemma3ForCausalLM(Gemma3TextConfig(**{"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 24, **shape}))
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**{"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1, **shape}))
    elif kind == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**{"head_dim": 16, **shape}))
    elif kind == "mistral":
        model = MistralForCausalLM(MistralConfig(**{"sliding_window": 24, **shape}))
    elif kind == "gpt-oss":
        model = GptOssForCausalLM(GptOssConfig(**{"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, **shape}))
    elif kind == "cohere":
        model = CohereForCausalLM(CohereConfig(**{"logit_scale": 3.0, **shape}))
    elif kind == "granite":
        model = GraniteForCausalLM(GraniteConfig(**{"logits_scaling": 0.2, **shape}))
    elif kind == "lfm2":
        model = Lfm2ForCausalLM(Lfm2Config(layer_types=["conv", "full_attention"], **shape))
    elif kind == "falcon-h1":
        inner = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8}
        model = FalconH1ForCausalLM(FalconH1Config(**inner, **shape))
    elif kind == "qwen3-next":
        inner = {
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "head_dim": 16,
        }
        experts = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
        model = Qwen3NextForCausalLM(Qwen3NextConfig(layer_types=["linear_attention", "full_attention"], **inner, **experts, **shape))
    elif kind == "gpt2":
        sizes = {"vocab_size": vocab, "n_positions": length, "n_embd": 32, "n_layer": 2, "n_head": 4}
        ends = {"bos_token_id": None, "eos_token_id": None}
        model = GPT2LMHeadModel(GPT2Config(**{**sizes, **ends, **options}))
    else:
        raise ValueError(kind)
    # Larger weights than a fresh model's, so that its distributions are far from uniform.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    return model.eval()


def save_tiny(folder: Path, kind: str = "llama", template: str | None = "chatml", length: int = 512, everyday: bool = True) -> str:
    """A folder with a random model, its tokenizer and its card, for runs; its name."""
    tokenizer = tiny_tokenizer(template)
    tiny_model(kind, vocab=len(tokenizer), length=length).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    PlayerCard(TABOO_BRIEF, 8, everyday).save(folder)
    return str(folder)
