#!/usr/bin/env bash
# Surprise: beyond `keep_window_size` keys, DogeForCausalLM attends to the keys with the largest scores that
# it computes from their values. In the first layer these depend on the token alone, so every repeated token
# is a tie, and which of the tied keys stay is left to `torch.topk`, that is, to the number of keys. Tokens
# *behind* a position change its log-probability.
# Package: transformers 5.23.0
# Why it matters: the same tokens have other log-probabilities in a padded batch, or played step by step from
# the cache, than in a plain pass: importance ratios far from 1 before the first update, and a learner that
# trains another model than the player.
# What we do: a model is compared when it is loaded, rows of several lengths through our loop against a plain
# pass, and models that differ are refused in a sentence.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.23.0
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PYTHON'
import torch
import transformers
from transformers import DogeConfig, DogeForCausalLM

torch.manual_seed(0)
size = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
model = DogeForCausalLM(DogeConfig(**size, num_attention_heads=4, num_key_value_heads=2, keep_window_size=8)).eval()
for name, parameter in model.named_parameters():
    if parameter.ndim > 1 or name.endswith(".A"):  # A weighs the scores, and is 0 in a new model
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 1.0)


@torch.no_grad()
def logprobs(ids: torch.Tensor, behind: int) -> torch.Tensor:
    """Of 24 tokens, with so many others behind them, which causal attention does not see."""
    row = torch.cat([ids, torch.full((behind,), 5)])[None]
    return model(row).logits[0, : len(ids)].log_softmax(-1)


@torch.no_grad()
def stepwise(ids: torch.Tensor) -> torch.Tensor:
    cache, rows = None, []
    for token in ids:
        output = model(token[None, None], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        rows.append(output.logits[0, 0].log_softmax(-1))
    return torch.stack(rows)


print("transformers", transformers.__version__, "- largest difference from a plain pass in nats, 24 tokens, 8 keys kept")
worst = {}
for kind, ids in {"no token twice": torch.randperm(61)[:24] + 3, "many tokens twice": torch.randint(3, 15, (24,))}.items():
    plain = logprobs(ids, 0)
    padded = max((logprobs(ids, behind) - plain).abs().max().item() for behind in range(1, 9))
    cached = (stepwise(ids) - plain).abs().max().item()
    worst[kind] = padded, cached
    print(f"{kind}: with up to 8 tokens behind them {padded:.2g}, step by step from the cache {cached:.2g}")
print("expected: rounding in all four")
assert max(worst["no token twice"]) < 1e-3 and min(worst["many tokens twice"]) > 0.05, "the behaviour is gone"
PYTHON
