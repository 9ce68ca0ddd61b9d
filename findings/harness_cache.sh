#!/usr/bin/env bash
# Surprise: `use_cache=` of lm-eval's `simple_evaluate` keeps answers by the question and not by the model. A
# second model that is evaluated with the same cache is asked nothing and gets the first one's answers and
# score.
# Package: lm-eval 0.4.13
# Why it matters: benchmarks before and after training ask the same questions, and sharing a cache between the
# two looks like the thrifty thing to do. The result is a difference of exactly zero, for every checkpoint and
# every task, and "no harm done" is believed.
# What we do: nothing of ours uses this cache. Whoever evaluates our checkpoints should give each one a cache
# of its own, or none.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q lm-eval==0.4.13
HF_HUB_OFFLINE=1 HF_HOME="$work" venv/bin/python - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import importlib.metadata
import json
from pathlib import Path

from lm_eval import simple_evaluate
from lm_eval.api.model import LM


class OneAnswer(LM):
    """A model that gives the same answer to every question."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.answer, self.asked = answer, 0

    def loglikelihood(self, requests):
        self.asked += len(requests)
        return [(0.0 if request.args[1].strip() == self.answer else -9.0, True) for request in requests]

    def generate_until(self, requests):
        raise NotImplementedError

    loglikelihood_rolling = generate_until


questions = [{"question": f"Is {n} followed by {n + 1}?", "answer": "yes"} for n in range(4)]
Path("questions.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
task = {
    "task": "tiny", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "questions.jsonl"}}, "test_split": "test",
    "output_type": "multiple_choice", "doc_to_text": "{{question}}", "doc_to_choice": ["yes", "no"], "doc_to_target": "{{answer}}",
}  # fmt: skip
print("lm-eval", importlib.metadata.version("lm-eval"), "- expected: 1.0 for the model that says yes, 0.0 for the other, always")
seen = {}
for cache in (None, "answers"):
    for answer in ("yes", "no"):
        model = OneAnswer(answer)
        score = simple_evaluate(model, tasks=[dict(task)], use_cache=cache, bootstrap_iters=0)["results"]["tiny"]["acc,none"]
        seen[cache, answer] = score, model.asked
        print(f"use_cache={cache!r}: the model that says {answer} scores {score}, asked {model.asked} times")
assert seen[None, "no"] == (0.0, 8) and seen["answers", "no"] == (1.0, 0), "the behaviour is gone"
PYTHON
