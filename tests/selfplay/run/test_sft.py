"""Imitation: what a step of it is made of."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import NO_EVALUATION, small_run

from sparring.selfplay.config.config import SFTConfig, SFTMixConfig
from sparring.selfplay.learner.batch import samples_of
from sparring.selfplay.learner.learner import Learner
from sparring.selfplay.run.train import train


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list:
    """The learner and the samples of each update; nothing is learnt."""
    seen = []

    def update(learner: Learner, samples, **_):
        seen.append((learner, samples))
        return {"sft_loss": 0.0}

    monkeypatch.setattr(Learner, "update", update)
    return seen


def fine_tune(model: str, out: Path, **changes) -> None:
    made = small_run(
        model, out, rounds=0, evaluation=NO_EVALUATION, sft_mix=SFTMixConfig(source="base" if changes.get("mix_share") else "none")
    )
    train(replace(made, sft=replace(SFTConfig(steps=1, minibatch=8, games=6), **changes)))


def test_with_a_kl_each_conversation_counts_alike_replayed_or_not(model: str, tmp_path: Path, updates: list):
    fine_tune(model, tmp_path / "run", kl=0.1, mix_share=0.25)
    ((learner, samples),) = updates
    assert len(samples) == 8 and all(sample.reference_logprobs is not None for sample in samples)
    whole, single = learner.gradients(samples), [learner.gradients([sample]) for sample in samples]
    assert len({sample.trained_tokens for sample in samples_of(samples)}) > 2
    for name, found in whole.items():
        pooled = sum(one[name] for one in single) / len(samples)
        torch.testing.assert_close(found, pooled, atol=1e-6, rtol=1e-4)


def test_given_conversations_come_in_passes(model: str, tmp_path: Path, updates: list):
    talks = [[{"role": "user", "content": "Begin."}, {"role": "assistant", "content": f"It is {'very ' * n}red."}] for n in range(8)]
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    fine_tune(model, tmp_path / "run", data=path, steps=6, minibatch=4)
    ((_, samples),) = updates
    lengths = [len(sample.ids) for sample in samples]
    passes = [lengths[start : start + 8] for start in (0, 8, 16)]
    assert [len(set(one)) for one in passes] == [8, 8, 8], "none again before all have come"
    assert passes[0] != passes[1]


def won(by: str, word: str) -> dict:
    guess = word if by == "defender" else "piano"
    said = {"role": "attacker", "content": "It is nice."}, {"role": "defender", "content": f"I know the word! It is {guess}!"}
    return {"history": list(said), "target_word": word, "max_turns": 5}


@pytest.mark.parametrize(
    ("winners_only", "weights"), [(True, {"attacker": 2 / 3, "defender": 2.0}), (False, {"attacker": 1.0, "defender": 1.0})]
)
def test_spags_imitation_weighs_roles_half_each(model: str, tmp_path: Path, updates: list, winners_only: bool, weights: dict):
    path = tmp_path / "games.json"
    path.write_text(json.dumps([won("attacker", "lemon"), won("attacker", "horse"), won("attacker", "chair"), won("defender", "apple")]))
    fine_tune(model, tmp_path / "run", data=path, minibatch=4, winners_only=winners_only)
    ((_, samples),) = updates
    assert Counter(sample.role for sample in samples) == {"attacker": 3, "defender": 1}
    assert {sample.role: sample.weight for sample in samples} == pytest.approx(weights)


def test_of_expert_games_the_winners_roles_weigh_alike(model: str, tmp_path: Path, updates: list):
    fine_tune(model, tmp_path / "run", games=40, steps=20, minibatch=32, winners_only=True)
    ((_, samples),) = updates
    sums = {
        role: sum({sample.ids.tobytes(): sample.weight for sample in samples if sample.role == role}.values())
        for role in ("attacker", "defender")
    }
    counts = Counter(sample.role for sample in samples)
    assert counts["attacker"] != counts["defender"]
    assert sums["attacker"] == pytest.approx(sums["defender"], rel=0.05), "of different games"
