#!/usr/bin/env bash
# Surprise: `multipletests` runs the garbage collector, in every call and whatever the method: it costs as much
# as the process has objects, not as there are p-values. Three p-values take 0.1 to 1 s where a few million
# objects are alive, as with torch and transformers loaded and a log of games in memory; the adjustment itself
# takes microseconds.
# Package: statsmodels 0.15.0
# Why it matters: adjusted p-values are asked for again and again (after every round, over every tournament of a
# simulation), in processes that train.
# What we do: Holm's adjustment is three lines of numpy (selfplay/evaluation/statistics.py), tested against it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q statsmodels==0.15.0
OMP_NUM_THREADS=1 venv/bin/python -W error - <<'PYTHON'
import gc
import time

import statsmodels
from statsmodels.stats.multitest import multipletests

calls = []
gc.callbacks.append(lambda phase, info: calls.append(info["generation"]) if phase == "start" else None)
alive = [[number] for number in range(2_000_000)]
calls.clear()
began = time.process_time()
multipletests([0.01, 0.02, 0.03], method="holm")
seconds = time.process_time() - began
gc.disable()
began = time.process_time()
multipletests([0.01, 0.02, 0.03], method="holm")
disabled = time.process_time() - began
print("statsmodels", statsmodels.__version__, "- three p-values beside two million small lists; expected: microseconds")
print(f"{seconds:.3f} s of CPU, full collections: {calls.count(2)}; with gc.disable(): {disabled:.3f} s")
assert calls.count(2) >= 1 and seconds > 0.005, "the behaviour is gone"
PYTHON
