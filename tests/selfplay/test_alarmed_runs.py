"""A run whose alarms ring: warned of, ended, or taken back to its last healthy round."""

import json
import os
import signal
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import LEARNER, NO_EVALUATION, Heard, small_run

from sparring.agents.models.loading import load_language_model
from sparring.agents.names import checkpoint_folder, checkpoint_model
from sparring.selfplay.config.config import AlarmsConfig, LearnerConfig, SFTConfig, SFTMixConfig, TrainConfig
from sparring.selfplay.evaluation.alarms import Alarm
from sparring.selfplay.learner.learner import Learner
from sparring.selfplay.run.train import train
from sparring.selfplay.runtime.interrupts import Stopped
from sparring.selfplay.runtime.progress import Quiet

DEAF = AlarmsConfig(limits=dict.fromkeys(("reward_std", "mute", "repeated", "imbalance", "decisive", "ties")))
"""To what a random model's games sound like."""


def collapsing(model: str, out: Path, action: str, **changes) -> TrainConfig:
    """A learning rate far too high, and an alarm that hears the fall of entropy at its beginning."""
    alarms = replace(DEAF, action=action, limits={**DEAF.limits, "entropy": 0.9})
    learner = LearnerConfig(lr=0.05, minibatch=2)
    return small_run(model, out, alarms=alarms, learner=learner, sft_mix=SFTMixConfig(fraction=8), **changes)


@pytest.mark.full
def test_the_alarms_as_they_come_hear_a_collapse_of_the_embedded_model_before_it_is_complete(tmp_path: Path):
    """At a learning rate of 1e-3, held back by neither a reference nor an SFT mix, its hints become false and then no English, until the
    defender hardly wins."""
    learner = LearnerConfig(lr=1e-3, kl=0.0, minibatch=4, token_budget=2048)
    made = TrainConfig(
        rounds=10, games_per_round=64, sft_mix=SFTMixConfig(source="none"), learner=learner, evaluation=NO_EVALUATION, out=tmp_path / "run"
    )
    assert made.alarms == AlarmsConfig() and made.model == "mini@imitation"
    summary = train(made).data
    rounds = {record["round"]: record for record in summary["rounds"]}
    heard, (first, last) = rounds[summary["alarms"][0]["round"]], (rounds[1], rounds[10])
    assert 1 < heard["round"] <= 7
    assert heard["truth"] > 0.65 and heard["defender_wins"] > 0.1 * heard["games"], "heard while most of its talk was sound"
    assert last["truth"] < min(heard["truth"], first["truth"] - 0.15), "and it was heard rightly"
    assert last["unparsed"] > 10 * first["unparsed"]
    assert {"truth", "imbalance"} <= {alarm["name"] for alarm in summary["alarms"]}


def test_an_alarm_ends_a_run_before_its_collapse_is_complete(model: str, tmp_path: Path):
    summary = train(collapsing(model, tmp_path / "run", "stop"))
    alarm = summary.data["alarms"][0]
    assert (alarm["name"], alarm["round"]) == ("entropy", 1)
    assert 1 < alarm["step"] < 8, "steps of the round: heard in its middle"
    assert 0.1 < alarm["value"] < 0.9, "heard while most of the entropy was left"
    assert summary.data["rounds"] == []
    assert checkpoint_model(tmp_path / "run", 0).is_dir()
    assert not checkpoint_model(tmp_path / "run", 1).exists()
    assert any("alarm in round 1" in note for note in summary.data["notes"])


def test_a_warning_lets_the_run_go_on(model: str, tmp_path: Path):
    summary = train(collapsing(model, tmp_path / "run", "warn"))
    assert [r["round"] for r in summary.data["rounds"]] == [1, 2]
    assert [(a["round"], a["name"]) for a in summary.data["alarms"]].count((1, "entropy")) == 1, "once a round, however many steps"


def test_a_run_goes_back_and_on_at_half_the_learning_rate(model: str, tmp_path: Path):
    made = collapsing(model, tmp_path / "run", "rollback", rounds=1)
    summary = train(replace(made, learner=replace(made.learner, lr=0.04)))
    assert 1 <= len(summary.data["alarms"]) <= 3
    (last,) = summary.data["rounds"]
    assert last["learning_rate"] == 0.04 / 2 ** len(summary.data["alarms"])
    state = json.loads((checkpoint_model(tmp_path / "run", 1).parent / "state.json").read_text())
    assert state["rollbacks"] == len(summary.data["alarms"])


def test_a_signal_in_an_unhealthy_step_ends_the_run_before_the_next_round(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def check_health(record, first, limits, step=None):
        if step is None:
            return []
        os.kill(os.getpid(), signal.SIGTERM)
        return [Alarm("ties", 1.0, 0.6, step)]

    monkeypatch.setattr("sparring.selfplay.run.loop.check_health", check_health)
    begun: list[str] = []
    monkeypatch.setattr(Heard, "phase", lambda self, title, *given: begun.append(title) or Quiet.phase(self, title, *given))
    made = small_run(model, tmp_path / "run", alarms=AlarmsConfig(action="rollback", limits={"decisive": None}), evaluation=NO_EVALUATION)
    with pytest.raises(Stopped) as stop:
        train(made, progress=Heard())
    assert stop.value.signal == signal.SIGTERM
    assert [title for title in begun if title.startswith("round")] == ["round 1/2: play", "round 1/2: learn"]


def breaking(monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """Makes the gradient of the nth step of the process no number."""
    accumulate, steps = Learner._accumulate, []

    def broken(learner: Learner, *given) -> None:
        accumulate(learner, *given)
        steps.append(0.0)
        if len(steps) == nth:
            next(p for p in learner.model.parameters() if p.grad is not None).grad[0] = float("nan")

    monkeypatch.setattr(Learner, "_accumulate", broken)


def test_who_goes_back_drops_one_learner_before_the_next_is_made(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    breaking(monkeypatch, 4)
    make, made = Learner.__init__, []

    def counted(learner: Learner, *given, **options) -> None:
        assert [old() for old in made] == [None] * len(made), "an old learner is still there"
        make(learner, *given, **options)
        made.append(weakref.ref(learner))

    monkeypatch.setattr(Learner, "__init__", counted)
    sft = SFTConfig(steps=1, minibatch=4, games=4)
    run = small_run(model, tmp_path / "run", evaluation=NO_EVALUATION, alarms=replace(DEAF, action="rollback"), sft=sft)
    train(replace(run, learner=replace(LEARNER, minibatch=4)))
    assert len(made) == 3, "of SFT, and two of rounds"


@pytest.mark.parametrize(("action", "nth"), [("rollback", 4), ("rollback", 1), ("stop", 1), ("warn", 4)])
def test_a_gradient_that_is_not_finite_is_an_alarm(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, nth: int):
    """The fourth is in round 2; the first has no other to be compared with."""
    breaking(monkeypatch, nth)
    alarms, learner = replace(DEAF, action=action), replace(LEARNER, minibatch=4)
    made = small_run(model, tmp_path / "run", learner=learner, evaluation=NO_EVALUATION, alarms=alarms)
    if action == "warn":
        with pytest.raises(ValueError, match=r"the gradient of step 4 is not finite: lower its learning rate \(0\.0003\)"):
            train(made)
        assert all(p.isfinite().all() for p in load_language_model(checkpoint_model(tmp_path / "run", 1), device="cpu").model.parameters())
        return
    summary = train(made)
    (alarm,) = summary.data["alarms"]
    assert (alarm["name"], alarm["value"], alarm["round"]) == ("grad_norm", None, 2 if nth == 4 else 1)
    rounds = [(entry["round"], entry["learning_rate"]) for entry in summary.data["rounds"]]
    halved = LEARNER.lr / 2
    assert rounds == ([] if action == "stop" else [(1, LEARNER.lr if nth == 4 else halved), (2, halved)])


def test_a_gradient_of_imitation_that_is_not_finite_ends_the_command(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """There is no round to go back to yet."""
    breaking(monkeypatch, 2)
    made = small_run(model, tmp_path / "run", alarms=replace(DEAF, action="rollback"), evaluation=NO_EVALUATION)
    with pytest.raises(ValueError, match=r"the gradient of step 2 is not finite: lower its learning rate \(0\.005\)"):
        train(replace(made, sft=SFTConfig(steps=3, minibatch=4, games=4, lr=0.005)))
    assert not checkpoint_folder(tmp_path / "run", 0).exists()


def test_a_run_goes_back_to_a_round_that_is_still_there(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bad = [4, 3]

    def check_health(record, first, limits, step=None):
        if step is None and bad and record["round"] == bad[0]:
            bad.pop(0)
            return [Alarm("ties", 1.0, 0.6)]
        return []

    monkeypatch.setattr("sparring.selfplay.run.loop.check_health", check_health)
    heard = Heard()
    made = small_run(
        model, tmp_path / "run", rounds=4, keep_checkpoints=1, alarms=AlarmsConfig(action="rollback", limits={"decisive": None})
    )
    summary = train(replace(made, evaluation=NO_EVALUATION), progress=heard)
    assert [line for line in heard.said if line.startswith("back")] == [
        "back to the model of round 2, with half the learning rate",
        "back to the model of round 0, with half the learning rate",
    ], "round 1 has been pruned"
    assert [entry["round"] for entry in summary.data["rounds"]] == [1, 2, 3, 4]


def test_a_run_goes_back_to_a_round_that_is_whole(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    damaged: list[Path] = []

    def check_health(record, first, limits, step=None):
        if record.get("round") == 3 and not damaged:
            damaged.append(checkpoint_model(tmp_path / "run", 2) / "model.safetensors")
            damaged[0].write_bytes(damaged[0].read_bytes()[:-1])
            return [Alarm("grad_norm", 11.0, 10.0, 1)]
        return []

    monkeypatch.setattr("sparring.selfplay.run.loop.check_health", check_health)
    heard = Heard()
    made = small_run(
        model,
        tmp_path / "run",
        rounds=3,
        alarms=AlarmsConfig(action="rollback", limits={"decisive": None}),
        learner=replace(LEARNER, kl=0.0),
    )
    summary = train(replace(made, evaluation=NO_EVALUATION), progress=heard)
    assert any(f"{damaged[0]} is damaged or missing" in text for text in heard.said)
    assert "back to the model of round 1, with half the learning rate" in heard.said
    assert [entry["round"] for entry in summary.data["rounds"]] == [1, 2, 3]
