"""What a run began with holds when it is resumed: settings, files, the day; what may differ is said."""

import datetime
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from small_runs import NO_EVALUATION, Heard, Interrupting, files, small_run

from sparring.agents.models.language_model import LanguageModel
from sparring.agents.models.manifest import digests
from sparring.agents.names import checkpoint_folder, resolve
from sparring.agents.players.model_agent import ModelAgent
from sparring.selfplay.cli.main import main
from sparring.selfplay.config.config import TrainConfig
from sparring.selfplay.config.yaml_io import load
from sparring.selfplay.run.loop import Loop
from sparring.selfplay.run.session import prepare
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.runtime.interrupts import Stopped
from sparring.selfplay.storage.locks import LOCK, locked


@pytest.fixture(scope="module")
def short(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one round that has ended."""
    folder = tmp_path_factory.mktemp("origins") / "run"
    train(small_run(model, folder, rounds=1, evaluation=NO_EVALUATION))
    return folder


@pytest.fixture
def run(short: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(short, tmp_path / "run"))


def edit(run: Path, **changes) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    for name, value in changes.items():
        inside, dot, key = name.replace("__", ".").partition(".")
        (config[inside] if dot else config)[key or inside] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learner__lr": 0.5}, r"learner\.lr is 0\.5 and was "),
        ({"method": "rae"}, "method is 'rae' and was 'group'"),
        ({"game": "AdversarialTaboo-DrawingOut"}, "game is 'AdversarialTaboo-DrawingOut' and was 'AdversarialTaboo'"),
        ({"seed": 7}, "seed is 7 and was 0"),
        ({"games_per_round": 16}, "games_per_round is 16 and was 8"),
        ({"model": "mini"}, "model is 'mini' and was "),
        ({"learner__lora_rank": 4}, r"learner\.lora_rank is 4 and was 0"),
        ({"method_options": {"drop_reasons": "foul"}}, r"method_options\.drop_reasons is 'foul' and was None"),
        (None, r"games_per_round is 512 and was 8; .*, and \d+ more"),
    ],
)
def test_settings_that_have_changed_are_named_and_refused(run: Path, changes: dict | None, said: str, capsys):
    if changes is None:
        (run / "config.yaml").write_text("")
    else:
        edit(run, **changes)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["train", "--resume", str(run)]) == 2
    refused = capsys.readouterr().err
    assert str(run / "config.yaml") in refused and "put back what it was" in refused and refused.count("\n") == 1
    with pytest.raises(ValueError, match=said):
        resume(run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_settings_are_known_by_the_checkpoints_too(run: Path):
    edit(run, seed=7)
    (run / "provenance.json").unlink()
    with pytest.raises(
        ValueError, match=r"is not what the run began with: provenance\.json, which says what it was, is gone or damaged too"
    ):
        resume(run)
    edit(run, seed=0)
    resume(run)


def test_the_same_settings_written_otherwise_are_the_same(run: Path):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(
        "# mine\n" + "\n".join(reversed([line for line in text.split("\n") if line.startswith("seed")])) + f"\n{text}"
    )
    resume(run)


def test_a_finished_run_is_lengthened(model: str, run: Path, tmp_path: Path, capsys):
    train(small_run(model, tmp_path / "whole", evaluation=NO_EVALUATION))
    for wrong, said in (("0", "has 1 rounds already"), ("two", "a whole number, got 'two'"), ("-1", "at least 0, got -1")):
        assert main(["train", "--resume", str(run), "--rounds", wrong]) == 2
        assert said in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--seed", "2"]) == 2
    assert resume(run, rounds=2).data["run"]["rounds"] == 2
    left_out = ("provenance", "evaluation/round-001")
    longer, whole = ({name: data for name, data in files(of).items() if not name.startswith(left_out)} for of in (run, tmp_path / "whole"))
    assert longer == whole
    assert load(run / "config.yaml", TrainConfig).rounds == 2
    assert json.loads((run / "provenance.json").read_text())["resumed"] == [{"after": 1, "changed": {"rounds": [1, 2]}}]
    heard = Heard()
    resume(run, progress=heard)
    assert heard.said == []


def test_what_rounds_otherwise_is_said_once_and_recorded(run: Path, monkeypatch: pytest.MonkeyPatch):
    before = (run / "provenance.json").read_bytes()
    heard = Heard()
    resume(run, progress=heard)
    assert heard.said == [] and (run / "provenance.json").read_bytes() == before
    monkeypatch.setattr("sparring.agents.engine.kernels.AVAILABLE", "another")
    monkeypatch.setattr("torch.get_num_threads", lambda: 999)
    monkeypatch.setattr(
        "sparring.selfplay.storage.provenance._version", lambda name: "0.0" if name == "torch" else json.loads(before)["versions"][name]
    )
    resume(run, progress=heard)
    (said,) = heard.said
    threads, torch = json.loads(before)["hardware"]["threads"], json.loads(before)["versions"]["torch"]
    assert f"threads {threads} -> 999, compiled kernel {json.loads(before)['kernels']} -> another, torch {torch} -> 0.0;" in said
    (amended,) = json.loads((run / "provenance.json").read_text())["resumed"]
    assert amended["changed"]["torch"] == [torch, "0.0"]
    resume(run, progress=heard)
    assert len(heard.said) == 1, "nothing has changed since"


def test_files_that_have_changed_are_refused(model: str, tmp_path: Path):
    opponent = Path(shutil.copytree(model, tmp_path / "opponent"))
    made = small_run(model, tmp_path / "run", rounds=1, role="defender", opponent=str(opponent), evaluation=NO_EVALUATION)
    with pytest.raises(Stopped):
        train(made, progress=Interrupting("round 1/1: play"))
    (opponent / "README.md").write_text("a note")
    config = opponent / "config.json"
    whole = config.read_text()
    config.write_text(whole + "\n")
    with pytest.raises(ValueError, match=f"{opponent}, a model whose files the run reads, is gone or has changed since the run began"):
        resume(tmp_path / "run")
    config.write_text(whole)
    resume(tmp_path / "run")


def test_a_run_keeps_the_day_on_which_it_began(run: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    about = json.loads((run / "provenance.json").read_text())
    assert datetime.date.fromisoformat(about["day"]) <= datetime.date.today()
    (run / "provenance.json").write_text(json.dumps({**about, "day": "2001-02-03"}))
    monkeypatch.setattr(Loop, "run", lambda self, done: self.session)
    assert resume(run).day == datetime.date(2001, 2, 3)


def test_all_models_of_a_run_are_told_its_day(model: str, tmp_path: Path):
    day = datetime.date(2001, 2, 3)
    made = small_run(model, tmp_path / "run", role="defender", opponent=model, max_memory=1.0, evaluation=NO_EVALUATION)
    session = prepare(made, day=day)
    shutil.copytree(model, tmp_path / "run" / "checkpoints" / "round-000" / "model")
    folder = checkpoint_folder(tmp_path / "run", 0)
    (folder / "manifest.json").write_text(json.dumps(digests(folder)))
    assert isinstance(session.opponent, ModelAgent) and isinstance(session.opponent.model, LanguageModel)
    formats = [session.model.format, session.opponent.model.format, session.first_model(tmp_path / "run").format]
    session.config = replace(made, learner=replace(made.learner, lora_rank=2))
    formats.append(session.first_model(tmp_path / "run").format)
    assert [of.day for of in formats] == [day] * 4
    assert resolve(f"vllm:{model}@http://127.0.0.1:1/v1", day=day).model.format.day == day  # type: ignore[attr-defined]


def test_a_run_that_goes_on_elsewhere_is_not_resumed(run: Path, capsys):
    before = files(run)
    with locked(run, run / LOCK):
        assert main(["train", "--resume", str(run)]) == 2
    assert "is being written by process" in capsys.readouterr().err
    assert files(run) == before
