"""Our log-likelihoods beside those of lm-eval's HFLM: every option of some tasks' questions, both template
settings, time and memory.

python -m sparring.benchmarks.reasoning.lm_eval_check --data data

HFLM is given batches of 16 (8 are as fast; its default, 1, takes more than twice as long). Times are CPU
seconds of passes one after the other in one process; memory is the peak above the loaded model, each in a
process of its own. Needs the extra harness.
"""

import ctypes
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparring.agents.models.language_model import LanguageModel
from sparring.agents.models.loading import load_language_model
from sparring.agents.names import model_location
from sparring.selfplay.storage.folder import to_json, write_text

from ..command import command
from .answers import circumstances
from .questions import Question, continuations
from .scorer import log_likelihoods
from .suites import Asking, questions_of

BATCH = 16
TIMED = "arc_easy"
MEMORY_ITEMS = 16
"""Questions whose memory is measured: a few batches."""


@dataclass(frozen=True)
class Check:
    """Compares log-likelihoods with lm-eval's."""

    data: str
    """The folder that sparring data convert has filled."""
    model: str = "smollm2"
    tasks: str = "bbh_boolean_expressions,bbh_sports_understanding,arc_easy"
    items: int = 200
    """Questions per task."""
    result: str = "benchmarks/results/lm_eval_check.json"
    memory: str = ""
    """Internal: measures the memory of "ours" or of "lm-eval"."""


def check(options: Check) -> None:
    questions = questions_of(options.tasks, Asking(Path(options.data), options.items))
    model = load_language_model(model_location(options.model), name=options.model, device="cpu")
    if options.memory:
        print(json.dumps(_memory(model, questions[TIMED], options.memory)))
        return
    found: dict[str, Any] = {
        "model": options.model,
        "run": circumstances(model),
        "tasks": {},
        "memory_bytes": {},
        "memory_questions": MEMORY_ITEMS,
    }
    for task, asked in questions.items():
        for chat in (False, True):
            name = f"{task} ({'chat' if chat else 'plain'})"
            found["tasks"][name] = _compared(model, asked, chat=chat)
            print(name, found["tasks"][name], flush=True)
            write_text(Path(options.result), to_json(found))
    for which in ("ours", "lm-eval"):
        again = [sys.executable, "-m", "sparring.benchmarks.reasoning.lm_eval_check", "--data", options.data]
        again += ["--model", options.model, "--tasks", TIMED, "--items", str(MEMORY_ITEMS), "--memory", which]
        done = subprocess.run(again, check=True, capture_output=True, text=True)
        found["memory_bytes"][which] = json.loads(done.stdout.splitlines()[-1])
    write_text(Path(options.result), to_json(found))


def _compared(model: LanguageModel, questions: list[Question], *, chat: bool) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    scores: dict[str, NDArray[np.float64]] = {}
    for which in ("ours", "lm-eval"):
        start = time.process_time()
        scores[which] = _scores(model, questions, which, chat=chat)
        seconds[which] = time.process_time() - start
    ends = np.cumsum([len(question.options) for question in questions])[:-1]
    ours, theirs = (np.split(scores[which], ends) for which in ("ours", "lm-eval"))
    return {
        "questions": len(questions),
        "options": len(scores["ours"]),
        "largest_difference_nats": float(np.abs(scores["ours"] - scores["lm-eval"]).max()),
        "answered_otherwise": sum(int(a.argmax()) != int(b.argmax()) for a, b in zip(ours, theirs, strict=True)),
        "cpu_seconds": {which: round(value, 2) for which, value in seconds.items()},
        "ratio": round(seconds["ours"] / seconds["lm-eval"], 3),
    }


def _scores(model: LanguageModel, questions: list[Question], which: str, *, chat: bool) -> NDArray[np.float64]:
    if which == "ours":
        asked = continuations(model, questions, chat=chat)
        return log_likelihoods(model, [one for options in asked for one in options])
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=BATCH, softmax_dtype="float32")
    requests = []
    for question in questions:
        messages = [{"role": "user", "content": question.context}]
        context = theirs.apply_chat_template(messages) if chat else question.context
        requests += [Instance("loglikelihood", {}, (context, ("" if chat else " ") + option), 0) for option in question.options]
    return np.array([likelihood for likelihood, _ in theirs.loglikelihood(requests, disable_tqdm=True)])


def _memory(model: LanguageModel, questions: list[Question], which: str) -> int:
    """Bytes that a pass takes at its peak beyond the loaded model (Linux)."""
    _scores(model, questions[:1], which, chat=False)  # libraries are loaded, too
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is given back, so that what is taken again counts
    Path("/proc/self/clear_refs").write_text("5")
    before = _kib("VmHWM")
    _scores(model, questions, which, chat=False)
    return (_kib("VmHWM") - before) * 1024


def _kib(name: str) -> int:
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    command("reasoning.lm_eval_check", Check, check, __doc__)
