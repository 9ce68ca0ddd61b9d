"""sparring train."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import SMALL, UNKNOWN, sparring

from sparring.selfplay.cli.main import main
from sparring.selfplay.config.config import TrainConfig
from sparring.selfplay.config.yaml_io import flat

AGAINST = [
    "train",
    "--role",
    "defender",
    "--opponent",
    "scripted",
    "--rounds",
    "1",
    "--evaluation.games",
    "0",
    "--evaluation.scripted",
    "False",
]
AGAINST += ["--evaluation.control", "False", "--sft-mix.source", "none"]


def test_the_help_of_train_fits_two_screens_and_help_all_has_the_rest():
    both = [sparring("train", switch, columns=100).stdout for switch in ("--help", "--help-all")]
    short, every = (set(re.findall(r"--[a-z0-9._-]+", text.split("options ─", 1)[1])) for text in both)
    assert len(both[0].splitlines()) <= 60
    assert {"--model", "--rounds", "--learner.lr", "--resume", "--dry-run", "--help-all"} <= short
    assert short < every and {f"--{name.replace('_', '-')}" for name in flat(TrainConfig()) if name != "out"} <= every


def test_the_help_of_train_shows_switches_as_they_are_given():
    shown = sparring("train", "--help-all").stdout
    assert "--compile {True,False}" in shown and "--no-compile" not in shown
    assert "compile: true" in sparring("train", "--compile", "True", "--print-config").stdout


def without_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("damage", "arguments", "message"),
    [
        (without_tokenizer, [], "tokenizer"),
        (lambda folder: (folder / "model.safetensors").unlink(), [], "model.safetensors"),
        (None, ["--max-new-tokens", "5000"], "context holds 512 tokens"),
        (None, ["--out", "RUN"], "holds another run"),
        (None, ["--learner.lr", "1e-3", "--evaluation.gmes", "3"], "--evaluation.games"),
    ],
)
def test_what_a_run_cannot_begin_with_is_status_two(
    model: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage, arguments: list[str], message: str
):
    folder = shutil.copytree(model, tmp_path / "model")
    if damage is not None:
        damage(folder)
    before = sorted(path.stat().st_mtime_ns for path in run.rglob("*"))
    own = [str(run) if word == "RUN" else word for word in arguments]
    assert main(["train", "--model", str(folder), *SMALL, "--out", str(tmp_path / "new"), *own]) == 2
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert "Traceback" not in captured.err
    assert not (tmp_path / "new").exists()
    assert sorted(path.stat().st_mtime_ns for path in run.rglob("*")) == before


def test_a_full_disk_is_status_two(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    assert main(["train", "--model", str(model), *SMALL, "--out", str(tmp_path / "run")]) == 2
    assert "disk has" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_model_that_says_nothing_is_reported_at_the_end_of_its_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    # Whatever it samples ends its reply.
    monkeypatch.setattr("sparring.agents.models.language_model._end_ids", lambda model: range(model.config.vocab_size))
    assert main(["train", "--model", str(model), *SMALL, "--evaluation.games", "2", "--out", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    shown = " ".join(captured.out.split())
    assert "nothing was said: the model does not play this game yet" in shown
    assert "no reasoning is measured" in captured.err, "at the beginning"
    assert "Note: no reasoning was measured" in shown and f"sparring bench {tmp_path}/run@latest --against {tmp_path}/run@0" in shown
    assert "initial: the frozen model of round 0" in shown
    assert "How games against the frozen model ended" in shown and "silent 1.000 1.000" in shown


def test_a_config_file_is_taken_and_can_be_overridden(run: Path, tmp_path: Path):
    done = sparring("train", "--config", run / "config.yaml", "--seed", "3", "--out", tmp_path / "again", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"]["seed"] == 3


def test_settings_can_be_printed_and_taken_back(model: Path, tmp_path: Path):
    printed = sparring("train", "--model", model, "--rounds", "3", "--learner.lr", "2e-4", "--print-config")
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "mine.yaml").write_text(printed.stdout)
    again = sparring("train", "--config", tmp_path / "mine.yaml", "--print-config")
    assert again.stdout == printed.stdout
    assert "rounds: 3\n" in printed.stdout
    assert "  lr: 0.0002\n" in printed.stdout


def test_a_dry_run_says_what_a_run_would_need_and_writes_nothing(model: Path, tmp_path: Path):
    out = tmp_path / "run"
    done = sparring("train", "--model", model, "--rounds", "1", "--games-per-round", "16", "--out", out, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["round"]["utterances_at_most"] == 16 * 10
    assert found["memory_bytes"]["weights"] == 2 * 4 * found["model"]["parameters"]
    assert found["memory_bytes"]["training"] == 12 * found["model"]["parameters"], "float32: gradients and Adam's two averages"
    assert not out.exists()
    whole = found["memory_bytes"]["cache_at_most"]
    gib = whole / 2 / 2**30
    bounded = sparring("train", "--model", model, "--rounds", "1", "--max-memory", str(gib), "--out", out, "--dry-run", "--json")
    assert bounded.returncode == 0, bounded.stderr
    assert 0 < json.loads(bounded.stdout)["memory_bytes"]["cache_at_most"] <= gib * 2**30
    small = sparring("train", "--model", model, "--rounds", "1", "--max-memory", "0.000001", "--out", out, "--dry-run")
    assert small.returncode == 2
    assert "max_memory 1e-06 GiB is shared by two models" in small.stderr
    assert "are the least" in small.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--preset", "quik"], "did you mean 'quick'"),
        (["train", "--model", "./nowhere"], "no such model folder"),
        (["train", "--device", "cuda:99"], "device 'cuda:99' was given, but"),
        (["train", "--resume", "nowhere"], "no such run folder"),
        (["train", "--resume", "nowhere", "--seed", "3"], "leave the other options out"),
        (["train", "--rounds", "-1"], "rounds must be at least 0, got -1"),
        (["train", "--method", "goup"], "unknown method 'goup'; did you mean 'group'?"),
        (["train", "--method", "nowhere.py:make"], "nowhere.py: no such file"),
        (["train", "--method", "shuffled(ppo)"], "unknown method 'ppo'"),
        (["train", "--method-options", "corrections=token-ratio"], "method group has no option 'corrections'"),
        (["train", "--method", "turns", "--method-options", "discount=2"], "must be a number above 0 and at most 1"),
        (["train", "--method", "spag", "--method-options", "corrections=all"], "unknown correction of SPAG 'all'"),
        (["train", "--method", "spag", "--learner.kl-form", "sampled"], "set learner.kl_form reward"),
        (["train", "--learner.reference", "behaviour", "--learner.kl-form", "exact"], "whole distributions"),
        (["train", "--method", "dpo", "--group-size", "1"], "method dpo compares games about the same word"),
        (["train", "--method", "dpo", "--method-options", "beta=0"], "method option beta must be a number above 0, got '0'"),
        (["train", "--method", "spin", "--words", "common", "--evaluation.scripted", "False"], "spin learns from experts"),
        (["train", "--role", "defnder", "--opponent", "scripted"], "did you mean 'defender'"),
        (["train", "--role", "defender"], "needs an opponent"),
        (["train", "--opponent", "scripted"], "plays against one role"),
        (["train", "--method-options", "drop_reasons=fowl"], "has no outcome 'fowl'; did you mean 'foul'"),
        (["train", "--game-options", "rule=lema"], "known rules: lemma, family, spag"),
        (["train", "--game-options", "rule"], "--game-options: give NAME=VALUE, got 'rule'"),
        (["train", "--rounds", "x"], "--rounds must be a whole number, got 'x'"),
        (["train", "--rounds"], "Missing value for argument '--rounds'"),
        (["train", "--rond", "3"], "Unrecognized options: --rond, 3; perhaps you meant --rounds (sparring train --help)"),
        (["train", "--learner.schedule", "x"], "learner.schedule must be constant, cosine, linear, or one with steps"),
        (["train", "--alarms.limits", "tie=0.5"], "there is no alarm 'tie'; did you mean 'ties'?"),
        (["train", "--alarms.limits", "ties=many"], "ties must be a number or none, got 'many'"),
        (["train", "--game", "TwentyQuestions"], "evaluation.scripted needs"),
        (["train", "--config", "nowhere.yaml"], "no such configuration file"),
        (
            [
                "train",
                "--game",
                "textarena:TicTacToe-v0",
                "--words",
                "common",
                "--sft.steps",
                "0",
                "--evaluation.scripted",
                "False",
                "--evaluation.control",
                "False",
            ],
            "has no secret words",
        ),
        (["train", "--temperature", "nan"], "temperature must be a finite number, got nan"),
        (["train", "--learner.lr", "nan"], "learner.lr must be a finite number, got nan"),
        (["train", "--learner.adamw", "0.9", "inf", "0"], "learner.adamw must be a finite number, got inf"),
        (["train", "--learner.adamw", "0.9", "1", "0"], "learner.adamw must be in [0, 1)"),
        (["train", "--learner.grad-clip", "0"], "learner.grad_clip must be above 0"),
        (["train", "--sft.lr", "-1"], "sft.lr must be at least 0"),
        (["train", "--alarms.limits", "ties=nan"], "alarms.limits must be a finite number"),
        (["train", "--model", "scripted"], "only language models can be trained"),
        (["train", "--sft.data", "nowhere.json", "--sft.steps", "3"], "no such file of conversations"),
        ([*AGAINST, "--words", "common"], UNKNOWN),
        ([*AGAINST, "--words", "common", "--dry-run"], UNKNOWN),
        ([*AGAINST, "--words", "everyday,WORDS"], "not 'zeppelin': take words from"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, refused: Callable[[list[str], str], None]):
    refused(arguments, message)
