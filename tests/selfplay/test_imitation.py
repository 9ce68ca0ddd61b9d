"""Imitation: what a step of it is made of."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import NOTHING_MEASURED, small_run

from sparring.selfplay.batch import rows_of
from sparring.selfplay.config import ImitationConfig
from sparring.selfplay.learner import Learner
from sparring.selfplay.train import train


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list:
    """The learner and the rows of each update; nothing is learnt."""
    seen = []

    def update(learner: Learner, rows, **_):
        seen.append((learner, rows))
        return {"sft_loss": 0.0}

    monkeypatch.setattr(Learner, "update", update)
    return seen


def imitating(model: str, out: Path, **changes) -> None:
    made = small_run(model, out, rounds=0, evaluation=NOTHING_MEASURED)
    train(replace(made, imitation=replace(ImitationConfig(steps=1, minibatch=8, games=6), **changes)))


def test_with_a_kl_each_conversation_counts_alike_replayed_or_not(model: str, tmp_path: Path, updates: list):
    imitating(model, tmp_path / "run", kl=0.1, replay_share=0.25)
    ((learner, rows),) = updates
    assert [row.kind for row in rows] == ["anchored-sft"] * 6 + ["sft"] * 2
    whole, single = learner.gradients(rows), [learner.gradients([row]) for row in rows]
    assert len({row.actions for row in rows_of(rows)}) > 2
    for name, found in whole.items():
        pooled = sum(one[name] for one in single) / len(rows)
        torch.testing.assert_close(found, pooled, atol=1e-6, rtol=1e-4)
