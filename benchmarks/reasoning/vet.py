"""Vets reasoning-gym's tasks: which can be used as a strict test, and why the others cannot.

python -m sparring.benchmarks.reasoning.vet

By task: whether its questions depend on the process (PYTHONHASHSEED), whether the right answer has the full
score, how often junk and the answers to other questions have it, and how many questions seed s + 1 shares
with seed s. Needs the extra reasoning.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.selfplay.storage.folder import to_json, write_text

from ..command import command
from .answers import digest
from .procedural import JUNK, Made, hashes, made

ITEMS = 20


@dataclass(frozen=True)
class Vet:
    """Vets all tasks of reasoning-gym."""

    result: str = "benchmarks/results/procedural_vet.json"
    tasks: tuple[str, ...] = ()
    """Only these."""
    hashes: bool = False
    """Internal: prints the digest of every task's questions."""


def vet(options: Vet) -> None:
    from reasoning_gym.factory import DATASETS

    names = [name for name in options.tasks or sorted(DATASETS) if name != "composite"]
    if options.hashes:
        print(f"\n{json.dumps({name: _questions(name) for name in names})}")
        return
    first, second = (_elsewhere(names, seed) for seed in ("1", "2"))
    found = {name: {**_facts(name), "depends_on_process": first[name] != second[name]} for name in names if first[name]}
    refused = {name: {"fails": True} for name in names if not first[name]}
    write_text(Path(options.result), to_json({"items": ITEMS, "tasks": {**found, **refused}}))
    print("\n".join(f"{name}: {facts}" for name, facts in found.items()))


def _elsewhere(names: list[str], hash_seed: str) -> dict[str, str | None]:
    again = [sys.executable, "-m", "sparring.benchmarks.reasoning.vet", "--hashes", "--tasks", *names]
    done = subprocess.run(again, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": hash_seed})
    # Some tasks print what they do.
    return dict(json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith('{"'))))


def _questions(name: str) -> str | None:
    """A digest of a task's questions; None where it cannot be made with its own settings."""
    try:
        return digest(hashes(made(name, 1000, ITEMS)))
    except Exception:  # whatever a task of reasoning-gym raises
        return None


def _facts(name: str) -> dict[str, Any]:
    start = time.process_time()
    here, beside = made(name, 1000, ITEMS), made(name, 1001, ITEMS)
    answers = [str(entry["answer"]) for entry in here.entries]
    others = [i for i in range(ITEMS) if answers[(i + 1) % ITEMS] != answers[i]]
    return {
        "right_answer_counts": _share(here, answers),
        "best_junk": max(_share(here, [junk] * ITEMS) for junk in JUNK),
        "another_answer_counts": sum(here.right(i, answers[(i + 1) % ITEMS]) for i in others) / max(1, len(others)),
        "shared_with_next_seed": len({*hashes(here)} & {*hashes(beside)}),
        "prompt_characters": sum(len(entry["question"]) for entry in here.entries) // ITEMS,
        "answer_characters": sum(map(len, answers)) // ITEMS,
        "cpu_seconds": round(time.process_time() - start, 2),
    }


def _share(one: Made, answers: list[str]) -> float:
    return sum(one.right(i, answer) for i, answer in enumerate(answers)) / len(answers)


if __name__ == "__main__":
    command("reasoning.vet", Vet, vet, __doc__)
