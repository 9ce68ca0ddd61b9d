#!/usr/bin/env bash
# Surprise: in reasoning-gym's task game_of_life the answer to another question scores 0.9 on average, because
# cells are compared one by one and most cells are dead; an empty board does as well.
# Package: reasoning-gym 0.1.25
# Why it matters: these scores are taken as rewards. A policy that ignores the question starts near the
# maximum, so group-relative advantages are noise, and a reported score of 0.9 shows no skill.
# What we do: answers count as right or wrong alone, the best score of answers that ignore the question is
# printed beside every task (benchmarks/reasoning/procedural.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q reasoning-gym==0.1.25
venv/bin/python -W ignore - <<'PYTHON'
import json
from importlib.metadata import version

import reasoning_gym

print("reasoning-gym", version("reasoning-gym"), "- expected: near 0 for answers that ignore the question")
life = reasoning_gym.create_dataset("game_of_life", size=20, seed=7)
items = list(life)
others = [life.score_answer(items[i - 1]["answer"], entry) for i, entry in enumerate(items)]
print(f"game_of_life: the answer to the question before scores {sum(others) / len(others):.2f}, at least {min(others):.2f}")
empty = [life.score_answer(str([[0] * len(row) for row in json.loads(entry["answer"])]), entry) for entry in items]
print(f"game_of_life: an empty board scores {sum(empty) / len(empty):.2f}")
assert sum(others) / len(others) > 0.8 and sum(empty) / len(empty) > 0.8, "the behaviour is gone"
PYTHON
