#!/usr/bin/env bash
# Surprise: lm-eval takes log-probabilities in the dtype of the weights, and adds those of an answer in it.
# With bfloat16 weights, the usual ones, a log-likelihood has 8 bits: steps of 1 nat from 128 on, of 2 nats
# from 256 on. Answers that differ by less get the same score, and the first of them is chosen.
# `softmax_dtype="float32"` cures it.
# Package: lm-eval 0.4.13 (HFLM, with transformers 5.23.0)
# Why it matters: tasks that choose among long answers are how reasoning is compared before and after
# training. Most of the ranking is rounding, and a checkpoint saved in another dtype than the first one scores
# differently for that reason alone.
# What we do: log-probabilities are taken and added in float32, whatever the weights are.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.23.0 lm-eval==0.4.13 accelerate==1.15.0
HF_HUB_OFFLINE=1 HF_HOME="$work" TQDM_DISABLE=1 OMP_NUM_THREADS=1 venv/bin/python - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import importlib.metadata

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
plain = Tokenizer(models.BPE(letters, []))
plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="!", pad_token="!")
torch.manual_seed(0)
size = {"vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
model = LlamaForCausalLM(LlamaConfig(**size)).to(torch.bfloat16).eval()
answers = [f"an answer of some {n} words, as long as answers often are in a test" for n in range(10, 40)]


def scores(**options) -> list[float]:
    scorer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu", **options)
    return [score for score, _ in scorer.loglikelihood([Instance("loglikelihood", {}, ("Q: ", text), 0) for text in answers])]


print("lm-eval", importlib.metadata.version("lm-eval"), "- 30 answers of one length, which differ in two digits; expected: 30 scores")
rounded, exact = scores(), scores(softmax_dtype="float32")
print(f"as it is:                {len(set(rounded))} different scores, {min(rounded)} to {max(rounded)}")
print(f"softmax_dtype='float32': {len(set(exact))} different scores, {min(exact):.3f} to {max(exact):.3f}")
assert all(score == round(score) for score in rounded) and len(set(rounded)) < 5 and len(set(exact)) > 20, "the behaviour is gone"
PYTHON
