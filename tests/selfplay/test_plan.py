from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import NOTHING_MEASURED, small_run
from tiny import save_tiny

from sparring.selfplay.method import method_of
from sparring.selfplay.plan import plan
from sparring.selfplay.session import prepare


def test_a_second_model_is_counted_where_one_is_held(tmp_path: Path):
    config = small_run(save_tiny(tmp_path / "model"), tmp_path / "run", evaluation=NOTHING_MEASURED)
    alone = replace(config, learner=replace(config.learner, kl=0.0))
    session = prepare(alone)
    one = plan(session, method_of(alone))["memory_bytes"]
    assert one["weights"] == sum(p.numel() * p.element_size() for p in session.model.model.parameters())
    assert one["cache_at_most"] == session.model.loop.memory_bound()
    for other in (
        replace(alone, evaluation=replace(NOTHING_MEASURED, games=2)),
        replace(alone, evaluation=replace(NOTHING_MEASURED, control=True)),
    ):
        assert plan(replace(session, config=other), method_of(other))["memory_bytes"] == {
            **one,
            "weights": 2 * one["weights"],
            "cache_at_most": 2 * one["cache_at_most"],
        }
    for other in (config, replace(alone, method="dpo")):
        assert plan(replace(session, config=other), method_of(other))["memory_bytes"] == {**one, "weights": 2 * one["weights"]}


@pytest.mark.parametrize("method", ["spin", "ipo"])
def test_no_second_model_plays_where_the_reference_is_the_sampler(tmp_path: Path, method: str):
    config = small_run(save_tiny(tmp_path / "model"), tmp_path / "run", evaluation=NOTHING_MEASURED)
    session = prepare(config)
    played = replace(config, method=method, learner=replace(config.learner, reference="behaviour"))
    assert plan(session, method_of(played))["memory_bytes"]["weights"] * 2 == plan(session, method_of(config))["memory_bytes"]["weights"]
