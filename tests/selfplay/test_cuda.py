"""A whole run on a GPU that nobody named, stopped and resumed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import Interrupting, small_run
from tiny import save_tiny

from sparring.selfplay.run.train import resume, train

pytestmark = pytest.mark.cuda


def test_a_run_takes_the_gpu_and_its_sampler_agrees_with_its_learner(tmp_path: Path):
    config = replace(small_run(save_tiny(tmp_path / "model"), tmp_path / "run"), games_per_round=64)
    with pytest.raises(KeyboardInterrupt):
        train(config, progress=Interrupting("round 2/2: play"))
    resume(tmp_path / "run")
    rounds = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [found["round"] for found in rounds if "mismatch_kl" in found] == [1, 2]
    assert all(abs(found["mismatch_kl"]) < 1e-3 for found in rounds if "mismatch_kl" in found)
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert provenance["hardware"]["gpus"]
