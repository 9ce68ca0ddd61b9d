#!/usr/bin/env bash
# Surprise: a tokenizer is saved beside a config.json of model_type qwen2 and read back by AutoTokenizer: it
# is another one. tokenizer_config.json says `TokenizersBackend`, which means "as tokenizer.json has it", and
# with other model types that is what comes back; with qwen2 (and qwen3_5) the vocabulary is kept and Qwen's
# own rules for cutting text replace those of the file.
# Package: transformers 5.23.0
# Why it matters: Qwen2 is the usual architecture for experiments with vocabularies of one's own, and for
# models that were distilled into it. Ids change between the process that trained and the one that loads, no
# error, no warning: numbers fall apart into digits, log-probabilities are of ids that the model never saw,
# and text still decodes as it should.
# What we do: a model is refused before a run begins where its tokenizer, once saved, is read back with other ids
# (selfplay/storage/export.py), GGUF files of qwen2 among them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q transformers==5.23.0
HF_HUB_OFFLINE=1 venv/bin/python - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import json
from pathlib import Path

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
tokenizer.train_from_iterator(["in 2026"] * 9, trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
saved = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
print("transformers", transformers.__version__)
print("before saving:", saved.tokenize("in 2026"))
read = {}
for kind in ("llama", "qwen3", "qwen2", "qwen3_5"):
    saved.save_pretrained(kind)
    Path(kind, "config.json").write_text(json.dumps({"model_type": kind}))
    again = transformers.AutoTokenizer.from_pretrained(kind)
    read[kind] = again.tokenize("in 2026")
    print(f"read back with model_type {kind}: {read[kind]} ({type(again).__name__})")
print("expected: the same four times")
assert read["llama"] == read["qwen3"] == saved.tokenize("in 2026")
assert read["qwen2"] != saved.tokenize("in 2026"), "the behaviour is gone"
PYTHON
echo "what was logged meanwhile: $(grep -v PyTorch log || echo nothing)"
