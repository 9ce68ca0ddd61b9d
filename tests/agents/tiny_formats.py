"""Templates in the manner of many families of chat models, and tiny tokenizers of every kind to go with them."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import tiny
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

FAMILIES = {**tiny.TEMPLATES, **{path.stem: path.read_text() for path in sorted((Path(__file__).parent / "families").glob("*.jinja"))}}
EOS = {
    **tiny.EOS,
    "channels": "<|return|>",
    "dated": "<|eot_id|>",
    "hybrid": "<|im_end|>",
    "observed": "<|user|>",
    "parts": "<|im_end|>",
    "response": "<|im_end|>",
    "thinking": "<|im_end|>",
    "vicuna": "</s>",
    "zephyr": "</s>",
}
SPECIAL = [
    *tiny.SPECIAL,
    *"<unk> <|user|> <|assistant|> <|system|> <|User|> <|Assistant|> <|start|> <|channel|> <|message|> <|end|> <|return|>".split(),
    *"<|START_THINKING|> <|END_THINKING|> <|START_RESPONSE|> <|END_RESPONSE|>".split(),
]
KINDS = ("bytes", "bytes with a prefix", "cl100k", "prepend", "always", "first", "never", "unigram")
"""Byte-level BPE, with a space before each section, or with punctuation and line breaks in one token; then SentencePiece's: a dummy prefix
by a normaliser (Llama 2), before each section or the first one, none; and a unigram model."""

_TEXTS = [
    "You are the attacker. The secret word is apple.\n",
    "You are the defender. Find the secret word. Begin.\n",
    "[INST] <<SYS>>\nIt is a fruit and it is red.\n<</SYS>>\n\nDo you know what it is? [/INST]",
    "Yes.\nNo.\nUser: I know the word! It is banana.\nAssistant: I think so.\nSystem: hm\n",
]
_CL100K = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@lru_cache(maxsize=len(KINDS))
def _trained(kind: str) -> str:
    letters = [chr(i) for i in range(32, 127)] + ["\u2581", "\n"]
    trainer: Any = trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL, initial_alphabet=letters, show_progress=False)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    if kind in ("bytes", "bytes with a prefix", "cl100k"):
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "bytes with a prefix")
        if kind == "cl100k":
            split = pre_tokenizers.Split(Regex(_CL100K), "isolated")
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        tokenizer.decoder = decoders.ByteLevel()
    elif kind == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    elif kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
        trainer = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", initial_alphabet=letters, show_progress=False
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
        tokenizer.decoder = decoders.Metaspace(prepend_scheme=kind)
    tokenizer.train_from_iterator(_TEXTS * 6, trainer)
    tokenizer.add_tokens(tiny.PLAIN_ADDED)
    return str(tokenizer.to_str())


def family_tokenizer(family: str | None, kind: str = "bytes", **options: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of a kind with the template of a family, or without any."""
    options = {"eos_token": EOS.get(family or "", "<|endoftext|>"), "bos_token": "<s>", "unk_token": "<unk>", **options}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_trained(kind)), **options)
    if family is not None:
        tokenizer.chat_template = FAMILIES[family]
    return tokenizer
