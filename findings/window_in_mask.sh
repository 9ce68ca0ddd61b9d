#!/usr/bin/env bash
# Surprise: the sliding window of PhimoeForCausalLM exists in the mask it builds and nowhere else. The
# attention function is given no `sliding_window`, as that of Mistral or Mixtral is. A function that makes its
# own masks (FlashAttention's kind, or one that is registered with AttentionInterface) attends beyond the
# window: another model, no error.
# Package: transformers 5.23.0
# Why it matters: rollouts and learners replace attention by functions that know packed rows or paged caches
# and need no mask. Such a player has other log-probabilities than a plain pass of the same model, and the
# importance ratio is wrong from the window on.
# What we do: a model is compared when it is loaded: rows longer than its window go through our loop and
# through a plain pass, and models that differ are refused in a sentence.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.23.0
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PYTHON'
import torch
import transformers
from transformers import AttentionInterface, AttentionMaskInterface

windows = []


def attention(module, query, key, value, attention_mask, scaling=None, sliding_window=None, **kwargs):
    """Causal attention that makes its mask from the window it is told."""
    windows.append(sliding_window)
    key, value = (part.repeat_interleave(module.num_key_value_groups, 1) for part in (key, value))
    back = torch.arange(query.shape[2])[:, None] - torch.arange(key.shape[2])
    seen = (back >= 0) & (back < (sliding_window or len(back)))
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scaling)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register("own", attention)
AttentionMaskInterface.register("own", lambda *args, **kwargs: None)
ids = torch.randint(64, (1, 24), generator=torch.Generator().manual_seed(0))
size = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
apart = {}
print("transformers", transformers.__version__, "- rows of 24 tokens, a window of 8")
for kind in ("mistral", "mixtral", "phimoe"):
    config = transformers.AutoConfig.for_model(kind, **size, num_key_value_heads=2, sliding_window=8)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10 if parameter.ndim > 1 else 1)
        plain = model(ids).logits.log_softmax(-1)
        model.set_attn_implementation("own")
        apart[kind] = (model(ids).logits.log_softmax(-1) - plain).abs().max().item()
    print(f"{kind}: attention is told window {windows[-1]}, log-probabilities differ by up to {apart[kind]:.2g} nats")
print("expected: window 8 and rounding, three times")
assert apart["mistral"] < 1e-3 and apart["mixtral"] < 1e-3
assert windows[-1] is None and apart["phimoe"] > 0.1, "the behaviour is gone"
PYTHON
