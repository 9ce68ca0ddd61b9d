#!/usr/bin/env bash
# Surprise: an ordered Categorical that has a category which never came up makes OrderedModel end with every
# coefficient exactly 0 and every error NaN. It does warn: of a logarithm of zero and of no convergence, not of
# the category. The same outcomes as plain numbers, from which it makes the categories itself, are fitted well.
# Package: statsmodels 0.15.0, pandas 3.1.1
# Why it matters: games end with a loss, a tie or a win. Of many pairs of players, and of short tournaments, no
# game is a tie; ratings fitted to "loss < tie < win" are then all equal.
# What we do: categories are made of the results that came up (selfplay/evaluation/ratings.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q statsmodels==0.15.0 pandas==3.1.1
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PYTHON'
import numpy as np
import pandas as pd
import statsmodels
from statsmodels.miscmodels.ordinal_model import OrderedModel

draw = np.random.default_rng(0)
games = 400
design = pd.DataFrame(draw.normal(size=(games, 2)), columns=["a", "b"])
won = (design.to_numpy() @ [1.0, -0.5] + draw.logistic(size=games) > 0).astype(int)
names = np.array(["loss", "win"])[won]
three = pd.Series(pd.Categorical(names, categories=["loss", "tie", "win"], ordered=True))
two = pd.Series(pd.Categorical(names, categories=["loss", "win"], ordered=True))

print("statsmodels", statsmodels.__version__, "- expected: coefficients near 1 and -0.5, with errors, in both rows")
fitted = {}
for name, outcome in {"loss < tie < win": three, "loss < win": two}.items():
    result = OrderedModel(outcome, design, distr="logit").fit(method="bfgs", disp=0)
    fitted[name] = result
    print(f"{name}: {result.params.to_numpy()[:2].round(3)} +- {np.asarray(result.bse)[:2].round(3)}", end="; ")
    print("converged:", result.mle_retvals["converged"])
bad, good = fitted["loss < tie < win"], fitted["loss < win"]
assert (bad.params.to_numpy()[:2] == 0).all() and np.isnan(np.asarray(bad.bse)).all(), "the behaviour is gone"
assert abs(good.params.to_numpy()[:2] - [1, -0.5]).max() < 0.4
PYTHON
