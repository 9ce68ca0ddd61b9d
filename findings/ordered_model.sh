#!/usr/bin/env bash
# Surprise: a player who wins every game has no finite rating. OrderedModel says that it converged and warns
# of nothing. Its plain standard errors give it away (hundreds); errors clustered by word, the right ones for
# games about shared words, are as small as everybody's. Where the rating ends is then a matter of the
# optimiser's tolerance. And any keyword that it does not know, `freq_weights=` among them, is taken without a
# word and not used.
# Package: statsmodels 0.15.0
# Why it matters: ratings of checkpoints are fitted to games, and against a frozen first checkpoint an
# unbeaten one is the usual case. The table says 18 +- 0.2, p = 0; counts of equal games given as weights
# change nothing.
# What we do: a linear programme looks for results that no finite rating explains best before anything is
# fitted; such players get a bound ("no loss in 120 games"). Games are counted in the likelihood of a subclass,
# which a test compares with one row a game (selfplay/evaluation/ratings.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q statsmodels==0.15.0
OMP_NUM_THREADS=1 venv/bin/python -W error - <<'PYTHON'
import numpy as np
import statsmodels
from statsmodels.miscmodels.ordinal_model import OrderedModel

draw = np.random.default_rng(0)
games = 600
first = draw.integers(0, 4, games)
second = (first + draw.integers(1, 4, games)) % 4
words = draw.integers(0, 60, games)
won = draw.integers(0, 2, games)
won[first == 3], won[second == 3] = 1, 0  # player 3 wins every game, the others are equal
players = np.eye(4)[first][:, 1:] - np.eye(4)[second][:, 1:]  # ratings beside player 0
clusters = {"cov_type": "cluster", "cov_kwds": {"groups": words}}


def fit(gtol: float = 1e-5, keywords: dict | None = None, **options):
    return OrderedModel(won, players, distr="logit", **(keywords or {})).fit(method="bfgs", disp=0, gtol=gtol, **options)


print("statsmodels", statsmodels.__version__, "- player 3 wins every game; expected: a warning, or an error that shows it")
plain, clustered, loose = fit(), fit(**clusters), fit(1e-2, **clusters)
for name, result in {"plain errors": plain, "clustered": clustered, "clustered, gtol 0.01": loose}.items():
    ratings = ", ".join(f"{value:.2f} +- {error:.2f}" for value, error in zip(result.params[:3], result.bse[:3], strict=True))
    print(f"{name}: ratings of players 1 to 3: {ratings}; converged: {result.mle_retvals['converged']}")
weighted = fit(keywords={"freq_weights": 1.0 + 9 * won, "no_such_keyword": 1})
print("freq_weights=10 for won games, 1 for others: ratings change by", abs(weighted.params - plain.params).max())
assert plain.bse[2] > 10 and clustered.bse[2] < 1 and clustered.mle_retvals["converged"], "the behaviour is gone"
assert np.array_equal(weighted.params, plain.params), "the behaviour is gone"
PYTHON
