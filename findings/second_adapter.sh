#!/usr/bin/env bash
# Surprise: loading a second LoRA adapter reports all weights of the first as MISSING, "newly initialized".
# Nothing of them was touched. The list is filtered by substrings, the word "lora" and the new adapter's name,
# so an adapter that is called "model" reports the whole base as well. A weight that the file really lacks
# stands in the same list, in the same words.
# Package: transformers 5.23.0 with peft 0.21.2
# Why it matters: one base with several adapters (player, reference, earlier opponents) is how self-play fits
# into memory. The report tells its reader that the opponent has just been reset, and hides the adapter that
# really is torn.
# What we do: of the list that `load_adapter` returns only the names of the adapter being loaded count; one of
# them is an error, and the printed report is silenced.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.23.0 peft==0.21.2 safetensors==0.8.0
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PYTHON'
import peft
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

size = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
LlamaForCausalLM(LlamaConfig(**size, num_attention_heads=2, num_key_value_heads=2)).save_pretrained("base")
for name in ("player", "opponent", "torn", "model"):
    lora = peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained("base"), lora).save_pretrained(name)
file = "torn/adapter_model.safetensors"
save_file({key: value for key, value in load_file(file).items() if "v_proj.lora_B" not in key}, file)

print("transformers", transformers.__version__, "peft", peft.__version__)
model = AutoModelForCausalLM.from_pretrained("base")
reported, unchanged = {}, {}
for name in ("player", "opponent", "torn", "model"):
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    reported[name] = model.load_adapter(name, adapter_name=name).missing_keys
    after = {key.replace(".base_layer", ""): parameter for key, parameter in model.named_parameters()}
    unchanged[name] = [key for key, old in before.items() if torch.equal(old, after[key.replace(".base_layer", "")])]
    others = [key for key in reported[name] if f".{name}." not in key]
    print(f"{name}: {len(reported[name])} weights reported missing, {len(others)} not its own,", end=" ")
    print(f"{len(before) - len(unchanged[name])} weights of others changed")
    assert len(unchanged[name]) == len(before)
print("expected: 0, 0, 1 (torn lacks one) and 0 reported missing")
assert not reported["player"] and any(".player." in key for key in reported["opponent"]), "the behaviour is gone"
assert "model.norm.weight" in reported["model"], "the behaviour is gone"
PYTHON
