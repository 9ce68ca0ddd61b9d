"""How often the intervals of the table hold the truth, by simulation.

python -m sparring.benchmarks.reasoning.coverage

Tables are drawn from a known model: questions of varying difficulty in clusters, two models whose answers to
a question are alike, a true difference. An interval of 95 % should hold the true difference in 95 % of the
tables.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sparring.selfplay.evaluation.statistics import over_seeds, paired_difference
from sparring.selfplay.storage.folder import to_json, write_text

from ..command import command
from .comparison import exact_mcnemar, geometric_mean
from .seeds import hierarchical_bootstrap

Floats = NDArray[np.float64]
CASES = ((200, 1, 0.0), (200, 5, 0.0), (40, 5, 0.0), (1000, 1, 0.0), (1000, 10, 0.0), (200, 5, 0.5))
"""Questions, questions per cluster, and how much better the second model is on the probit scale."""
CLUSTER, QUESTION, GAIN, SEED = 0.8, 0.8, 0.3, 0.15
"""Standard deviations on the probit scale: of clusters, of questions within them, of a model's gain by
cluster, of training seeds."""


@dataclass(frozen=True)
class Coverage:
    """Simulates tables."""

    tables: int = 1000
    seed_tables: int = 300
    """Tables over training seeds: each takes a bootstrap."""
    result: str = "benchmarks/results/coverage.json"


def coverage(options: Coverage) -> None:
    rng = np.random.default_rng(0)
    paired = [_paired(rng, *case, options.tables) for case in CASES]
    seeds = [_seeds(rng, number, options.seed_tables) for number in (3, 5, 10, 20)]
    found = {"tables": options.tables, "seed_tables": options.seed_tables, "paired": paired, "over_seeds": seeds}
    write_text(Path(options.result), to_json(found))
    print("\n".join(map(str, [*paired, *seeds])))


def _truth(shift: float, spread: float) -> float:
    """The expected difference in score. spread: the standard deviation of gains."""
    return float(stats.norm.cdf(shift / np.sqrt(1 + CLUSTER**2 + QUESTION**2 + spread**2))) - 0.5


def _difficulties(rng: np.random.Generator, questions: int, size: int) -> Floats:
    """Of the questions of a table, in clusters of one size."""
    clusters = rng.normal(scale=CLUSTER, size=questions // size).repeat(size)
    return np.asarray(clusters + rng.normal(scale=QUESTION, size=questions))


def _task(rng: np.random.Generator, questions: int, size: int, shift: float) -> tuple[Floats, Floats]:
    """Scores before and after: each model answers by a draw of its own, and gains differ by cluster."""
    skill = _difficulties(rng, questions, size)
    gain = shift + rng.normal(scale=GAIN, size=questions // size).repeat(size)
    before, after = ((one + rng.normal(size=questions) > 0).astype(np.float64) for one in (skill, skill + gain))
    return before, after


def _paired(rng: np.random.Generator, questions: int, size: int, shift: float, tables: int) -> dict[str, Any]:
    labels = np.repeat(np.arange(questions // size), size)
    truth = _truth(shift, GAIN)
    hits = {"clustered": 0, "unclustered": 0, "geometric_mean": 0}
    rejected = 0
    for _ in range(tables):
        tasks = {name: _task(rng, questions, size, shift) for name in ("a", "b")}
        rejected += exact_mcnemar(*tasks["a"]) < 0.05
        for name, clusters in (("clustered", labels), ("unclustered", np.arange(questions))):
            row = paired_difference(*tasks["a"], clusters)
            hits[name] += row.low <= truth <= row.high
        before, after = ({name: sides[i] for name, sides in tasks.items()} for i in (0, 1))
        gain = geometric_mean(before, after, dict.fromkeys(tasks, labels.tolist()))[2]
        hits["geometric_mean"] += gain is not None and gain.low <= truth <= gain.high
    return {
        "questions": questions,
        "per_cluster": size,
        "true_difference": round(truth, 4),
        **{f"{name}_coverage": hit / tables for name, hit in hits.items()},
        "mcnemar_rejects": rejected / tables,
    }


def _seeds(rng: np.random.Generator, seeds: int, tables: int, questions: int = 200) -> dict[str, Any]:
    hits = {"student": 0, "bootstrap": 0}
    truth = _truth(0.2, SEED)
    for _ in range(tables):
        skill = _difficulties(rng, questions, 1)
        before = (skill + rng.normal(size=questions) > 0).astype(float)
        better = 0.2 + rng.normal(scale=SEED, size=(seeds, 1))
        gains = (skill + better + rng.normal(size=(seeds, questions)) > 0) - before
        mean = over_seeds(gains.mean(axis=1).tolist())
        assert mean.low is not None and mean.high is not None
        low, high = hierarchical_bootstrap(gains)
        hits["student"] += mean.low <= truth <= mean.high
        hits["bootstrap"] += low <= truth <= high
    return {"seeds": seeds, "questions": questions, **{f"{name}_coverage": hit / tables for name, hit in hits.items()}}


if __name__ == "__main__":
    command("reasoning.coverage", Coverage, coverage, __doc__)
