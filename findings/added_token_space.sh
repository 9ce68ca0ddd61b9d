#!/usr/bin/env bash
# Surprise: `add_tokens(["<think>"])` makes a token that is looked for in the *normalised* text, and is
# normalised itself. Where the normaliser prepends "▁" to a text (Llama 2 and its many descendants) the token
# that is looked for becomes "▁<think>". It is found at the beginning and after a space, and nowhere else:
# after a line break, which is where chat templates put it, it is split into characters.
# `AddedToken("<think>", normalized=False)` is found everywhere.
# Package: tokenizers 0.23.3
# Why it matters: rewards for a format look for <think>...</think>, and demonstrations teach it. Some places
# then train several ordinary tokens and others the new one, though the text looks the same everywhere.
# What we do: a tokenizer is asked which of its added tokens it finds in the midst of text; only those count
# as marks of thinking or as control tokens.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q tokenizers==0.23.3
venv/bin/python - <<'PYTHON'
import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers

characters = {character: number for number, character in enumerate("\n▁<>abcdefghijklmnopqrstuvwxyz")}


def tokens(token: str | AddedToken, text: str) -> list[str]:
    tokenizer = Tokenizer(models.BPE(characters, []))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.add_tokens([token])
    return tokenizer.encode(text).tokens


print("tokenizers", tokenizers.__version__)
for text in ("<think>", "a <think>", "a\n<think>", "a<think>"):
    print(f"{text!r}: as added by default {tokens('<think>', text)}")
    print(f"    with normalized=False {tokens(AddedToken('<think>', normalized=False), text)}")
print("expected: the token is found in all four texts")
assert "▁<think>" in tokens("<think>", "a <think>"), "the behaviour is gone"
assert tokens("<think>", "a\n<think>")[-7:] == list("<think>"), "the behaviour is gone"
assert "<think>" in tokens(AddedToken("<think>", normalized=False), "a\n<think>")
PYTHON
