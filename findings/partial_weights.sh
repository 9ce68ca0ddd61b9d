#!/usr/bin/env bash
# Surprise: `from_pretrained` loads a folder whose weights are not those of its config.json and raises
# nothing. A tensor that the file lacks is drawn at random, anew at every load; tensors that the model has no
# place for are dropped. Both are warnings in the log and nothing more; only who asks for
# `output_loading_info=True` can act on them.
# Package: transformers 5.23.0
# Why it matters: the policy and the frozen reference of a run are often two loads of one folder. With one
# tensor missing they are two models, and the KL penalty begins above zero. A Qwen2 model under model_type
# llama runs without its biases.
# What we do: loading asks for `output_loading_info` and refuses, by name, what is missing or has no place.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.23.0 safetensors==0.8.0
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1 venv/bin/python - <<'PYTHON'
import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

torch.manual_seed(0)
size = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
model = Qwen2ForCausalLM(Qwen2Config(**size, num_attention_heads=2, num_key_value_heads=2))
for parameter in model.parameters():
    torch.nn.init.normal_(parameter)  # the biases, too
model.save_pretrained("model")
weights, config = Path("model/model.safetensors"), Path("model/config.json")
whole, ids = load_file(weights), torch.arange(16)[None]


def logprobs() -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained("model")(ids).logits.log_softmax(-1)


def apart(left: torch.Tensor, right: torch.Tensor) -> float:
    return (left - right).abs().max().item()


right = logprobs()
save_file({key: whole[key] for key in whole if key != "model.layers.0.mlp.down_proj.weight"}, weights, {"format": "pt"})
missing = apart(logprobs(), logprobs())
save_file(whole, weights, {"format": "pt"})
config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
dropped = apart(logprobs(), right)
print("transformers", transformers.__version__, "- expected: an error in both cases")
print(f"one tensor missing: two loads of the folder differ by up to {missing:.2f} nats")
print(f"biases of Qwen2 under model_type llama: off by up to {dropped:.2f} nats")
assert missing > 0.001 and dropped > 0.001, "the behaviour is gone"
PYTHON
