#!/usr/bin/env bash
# Surprise: the Metaspace decoder is to take away the one space that its pre-tokenizer puts before a text.
# Unless its prepend_scheme is "never" it takes away every "▁" of the first token: the token "It▁is" decodes
# to "Itis".
# Package: tokenizers 0.23.3
# Why it matters: texts of vocabularies whose tokens hold several words lose spaces, and only at the beginning
# of what is decoded. A reply that is decoded turn by turn reads otherwise than the same ids inside a
# conversation; text that is encoded again for training has other ids than were sampled.
# What we do: such a tokenizer's replies are decoded by a Metaspace with prepend_scheme "never", and the one
# leading space is removed from the text afterwards.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q tokenizers==0.23.3
venv/bin/python - <<'PYTHON'
import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

vocabulary = {"<unk>": 0, "▁It▁is": 1, "▁red": 2}
print("tokenizers", tokenizers.__version__)
seen = {}
for scheme in ("always", "first", "never"):
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    seen[scheme] = tokenizer.decode([1, 2]), tokenizer.decode([2, 1])
    print(f"prepend_scheme {scheme!r}: ids 1 2 give {seen[scheme][0]!r}, ids 2 1 give {seen[scheme][1]!r}")
print("expected with 'always' and 'first': 'It is red' and 'red It is'")
for scheme in ("always", "first"):
    assert seen[scheme] == ("Itis red", "red It is"), "the behaviour is gone"
PYTHON
