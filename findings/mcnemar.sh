#!/usr/bin/env bash
# Surprise: McNemar's test with `exact=False` gives p = 0 for two models that answer every question alike
# (numpy warns of a division by zero, the function says nothing). With five questions each way, the most even
# result there is, it gives p = 0.75, and with five against six p = 1: the correction for continuity is taken
# from a difference that is smaller than itself.
# Package: statsmodels 0.15.0
# Why it matters: this is the test for "did it get better at reasoning", question by question before and after
# training. Early checkpoints, and arms in which nothing was learnt, are the ones that never differ: the most
# significant row of the table.
# What we do: `exact=True` always, on words that went better and words that went worse
# (selfplay/evaluation/statistics.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q statsmodels==0.15.0
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PYTHON'
import statsmodels
from statsmodels.stats.contingency_tables import mcnemar

print("statsmodels", statsmodels.__version__, "- expected: p = 1 or nearly so in all three rows")
seen = {}
for better, worse in ((0, 0), (5, 5), (5, 6)):
    table = [[50, better], [worse, 50]]
    seen[better, worse] = mcnemar(table, exact=False).pvalue
    print(f"{better} questions only before, {worse} only after: p = {seen[better, worse]:.2f}", end="; ")
    print(f"without correction {mcnemar(table, exact=False, correction=False).pvalue:.2f}", end="; ")
    print(f"exact {mcnemar(table, exact=True).pvalue:.2f}")
assert seen[0, 0] == 0 and seen[5, 5] < 0.8 < seen[5, 6], "the behaviour is gone"
PYTHON
