"""Signals: a run ends soon, says how it goes on, and comes out as if nobody had stopped it."""

import hashlib
import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from forked import command, start
from small_runs import NO_EVALUATION, Heard, Signalling, files, small_run

from sparring.selfplay.config.config import EvaluationConfig, LearnerConfig, SFTConfig, SFTMixConfig, TrainConfig
from sparring.selfplay.config.yaml_io import to_yaml
from sparring.selfplay.objectives.spag import NAMES
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.runtime.interrupts import Stopped

ALL_CORRECTED = {"corrections": ",".join(NAMES), "drop_reasons": "none"}
"""Of the method spag, whose optimiser begins anew in every round."""


@pytest.mark.parametrize(
    ("title", "steps", "changes", "number"),
    [
        ("sft", 23, {"rounds": 0, "sft": SFTConfig(steps=25, minibatch=4, games=8)}, signal.SIGTERM),
        ("round 1/1: learn", 12, {"rounds": 1, "method": "rae"}, signal.SIGINT),
        (
            "round 1/1: learn",
            1,
            {"rounds": 1, "method": "spag", "method_options": ALL_CORRECTED, "schedule": "cosine"},
            signal.SIGTERM,
        ),
        ("round 1/1: learn", 5, {"rounds": 1, "dtype": "bfloat16"}, signal.SIGTERM),
        ("round 1/1: play", 5, {"rounds": 1}, signal.SIGTERM),
    ],
)
def test_a_signal_ends_a_step_saves_it_and_the_run_goes_on_from_there(
    model: str, tmp_path: Path, dealt: None, title: str, steps: int, changes: dict, number: int
):
    schedule = {name: changes.pop(name) for name in ("schedule",) if name in changes}
    given = LearnerConfig(minibatch=4, epochs=2, reference="behaviour", kl_form="sampled", **schedule)
    made = small_run(model, tmp_path / "stopped", learner=given, evaluation=NO_EVALUATION, **changes)
    train(replace(made, out=tmp_path / "whole"))
    with pytest.raises(Stopped) as stop:
        train(made, progress=Signalling(title, steps, number))
    assert stop.value.signal == number
    saved = sorted(p.name for p in (tmp_path / "stopped" / "checkpoints").glob("update-*"))
    heard = Heard()
    resume(tmp_path / "stopped", progress=heard)
    if "play" in title:
        assert saved == []
    else:
        assert saved == ["update-000" if title == "sft" else "update-001"]
        (said,) = [text for text in heard.said if "goes on after optimiser step" in text]
        assert not said.endswith("step 0")
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_a_stopped_update_that_is_damaged_begins_anew(model: str, tmp_path: Path):
    made = small_run(model, tmp_path / "stopped", rounds=1, learner=LearnerConfig(minibatch=1), evaluation=NO_EVALUATION)
    train(replace(made, out=tmp_path / "whole"))
    with pytest.raises(Stopped):
        train(made, progress=Signalling("round 1/1: learn", 1, signal.SIGTERM))
    trainer = tmp_path / "stopped" / "checkpoints" / "update-001" / "trainer.pt"
    trainer.write_bytes(trainer.read_bytes()[:-1])
    heard = Heard()
    resume(tmp_path / "stopped", progress=heard)
    assert any(f"{trainer} is damaged or missing: the update of round 1 begins anew" in text for text in heard.said)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


@pytest.mark.parametrize(("title", "saved"), [("sft", "update-000"), ("round 1/1: learn", "round-000"), ("round 1/1: learn", "update-001")])
def test_another_number_of_processes_is_said_however_early_the_run_was_stopped(model: str, tmp_path: Path, title: str, saved: str):
    sft = SFTConfig(steps=2, minibatch=4, games=4)
    steps, mix = LearnerConfig(minibatch=1), SFTMixConfig(fraction=0)
    made = small_run(model, tmp_path / "run", rounds=1, learner=steps, sft_mix=mix, sft=sft, evaluation=NO_EVALUATION)
    with pytest.raises(Stopped):
        train(made, progress=Signalling(title, 1, signal.SIGTERM))
    checkpoints = tmp_path / "run" / "checkpoints"
    if saved == "round-000":
        shutil.rmtree(checkpoints / "update-001")
    by_two(checkpoints / saved)
    heard = Heard()
    resume(tmp_path / "run", progress=heard)
    assert heard.said[0].startswith("until now 2 processes, from now on 1: model and optimiser go on")


def by_two(folder: Path) -> None:
    """Makes what was saved look as if two processes had saved it."""
    state = folder / "state.json"
    assert json.loads(state.read_text())["processes"] == 1
    state.write_text(state.read_text().replace('"processes": 1', '"processes": 2'))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["state.json"] = hashlib.sha256(state.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_sigterm_saves_and_says_how_to_go_on(model: str, tmp_path: Path):
    folder, said = tmp_path / "run", tmp_path / "said"
    made = small_run(model, folder, rounds=1, learner=LearnerConfig(minibatch=1, epochs=10_000), sft_mix=SFTMixConfig(source="none"))
    (tmp_path / "config.yaml").write_text(to_yaml(replace(made, evaluation=NO_EVALUATION)))
    process = start(said, command, ["train", "--config", str(tmp_path / "config.yaml"), "--out", str(folder)])
    while not (said.exists() and ": learn" in said.read_text()):
        assert process.is_alive(), said.read_text()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 143
    assert f"stopped; continue with: sparring train --resume {folder}" in said.read_text()
    assert (folder / "checkpoints" / "update-001").is_dir()


def measured(model: str, out: Path) -> TrainConfig:
    evaluation = EvaluationConfig(games=2, every=1, scripted=False, control=True)
    return small_run(model, out, learner=LearnerConfig(minibatch=1), sft_mix=SFTMixConfig(fraction=1), evaluation=evaluation)


@pytest.fixture(scope="module")
def whole(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured") / "whole"
    train(measured(model, folder))
    return folder


@pytest.mark.parametrize(
    ("title", "steps", "goes_on"),
    [
        ("control: expert games, as many tokens", 1, "the control goes on after optimiser step"),
        ("win rates of the control", 3, "the control goes on after optimiser step"),
        ("win rates of the model of round 1", 3, None),
        ("win rates of the model of round 2", 3, None),
    ],
)
def test_a_signal_in_a_measurement_or_the_control_ends_it_soon(
    model: str, tmp_path: Path, whole: Path, title: str, steps: int, goes_on: str | None
):
    sent, heard = Signalling(title, steps, signal.SIGTERM), Heard()
    with pytest.raises(Stopped, match=f"continue with: sparring train --resume {tmp_path}/run"):
        train(measured(model, tmp_path / "run"), progress=sent)
    assert (sent.number, sent.later) == (0, 0), "no game, no round of the control after the signal"
    assert not list(tmp_path.rglob(".*.part")), "nothing half written"
    resume(tmp_path / "run", progress=heard)
    assert [text.rstrip("0123456789 ") for text in heard.said if "goes on" in text] == ([goes_on] if goes_on else [])
    assert files(tmp_path / "run") == files(whole)
