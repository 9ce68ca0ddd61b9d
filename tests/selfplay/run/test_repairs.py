"""A run folder that was touched: what is not of the run is left alone, what can be written again is, and all of it is said."""

import json
import shutil
from pathlib import Path

import pytest
from small_runs import Heard, files, small_run
from test_sealed import BAD_JSON

from sparring.selfplay.cli.main import main
from sparring.selfplay.config.config import EvaluationConfig
from sparring.selfplay.run.train import resume, train


@pytest.fixture(scope="module")
def finished(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repairs") / "run"
    train(small_run(model, folder, evaluation=EvaluationConfig(games=1, every=1, scripted=False, control=False)))
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def resumed(run: Path) -> list[str]:
    heard = Heard()
    resume(run, progress=heard)
    return heard.said


FOREIGN = (
    "notes.txt",
    "config.yaml.bak",
    "metrics (copy).jsonl",
    "rounds/001 copy/games.jsonl.gz",
    "rounds/0001",
    "rounds/round-001",
    "rounds/002/notes.md",
    "checkpoints/round-001-copy/model/config.json",
    "checkpoints/001 copy",
    "checkpoints/round-002.bak/state.json",
    "checkpoints/round-0003/state.json",
    "checkpoints/update-copy",
    "checkpoints/round-001/note",
    "checkpoints/round-002/model/read me.md",
    "checkpoints/round-002/model/config copy.json",
    "evaluation/round-000 (1).json",
    "evaluation/round-001.json~",
    "evaluation/Kopie.json",
)


def test_what_is_not_of_the_run_is_left_alone_and_named_once(finished: Path, run: Path):
    for name in FOREIGN:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("precious")
    (run / "rounds" / ".DS_Store").write_text("hidden")
    (said,) = resumed(run)
    assert said.startswith("left alone, as it is none of the run's files: ")
    tops = {"rounds/001 copy", "checkpoints/round-001-copy", "checkpoints/round-002.bak", "checkpoints/round-0003"}
    for name in FOREIGN:
        top = next((top for top in tops if name.startswith(f"{top}/")), name)
        assert said.count(f"{top!r}") == 1
        assert (run / name).read_text() == "precious"
    assert {name: data for name, data in files(run).items() if name not in FOREIGN and ".DS" not in name} == files(finished)
    assert main(["games", str(run), "--json"]) == main(["report", str(run)]) == 0


def test_notes_survive_when_rounds_are_forgotten_and_checkpoints_pruned(model: str, tmp_path: Path):
    nothing = EvaluationConfig(games=0, control=False)
    train(small_run(model, tmp_path / "run", rounds=1, keep_checkpoints=1, evaluation=nothing))
    notes = [tmp_path / "run" / name for name in ("rounds/002/notes.txt", "checkpoints/round-001/note.md")]
    for note in notes:
        note.parent.mkdir(exist_ok=True)
        note.write_text("precious")
    resume(tmp_path / "run", rounds=4)
    assert [note.read_text() for note in notes] == ["precious"] * 2
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == [f"round-00{n}" for n in (0, 1, 3, 4)]


def cut(text: str) -> str:
    return text[:-20]


@pytest.mark.parametrize(
    "change",
    [
        None,
        cut,
        lambda text: "",
        lambda text: text.split("\n")[0] + "\n",
        lambda text: "[1]\n" + text,
        lambda text: text + "[1]",
        lambda text: "[" * 100_000 + "\n" + text,
        lambda text: text.replace('"games": 8', '"games": 9', 1),
        lambda text: text + text,
        lambda text: text.replace('"round": 2', '"round": "2"'),
    ],
)
def test_metrics_that_are_not_what_the_run_wrote_are_written_anew(finished: Path, run: Path, change):
    metrics = run / "metrics.jsonl"
    if change is None:
        metrics.unlink()
    else:
        metrics.write_text(change(metrics.read_text()))
        assert metrics.read_bytes() != (finished / "metrics.jsonl").read_bytes()
    (said,) = resumed(run)
    assert said.startswith(f"{metrics} is not what the run wrote")
    assert files(run) == files(finished)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_measurement_that_is_gone_or_damaged_is_made_anew(finished: Path, run: Path, number: int):
    file = run / "evaluation" / f"round-00{number}.json"
    edited = json.dumps({**json.loads(file.read_text()), "win_rates": []}).encode()
    for data in (BAD_JSON["cut"], BAD_JSON["deep"], b"{}", edited, None):
        if data is None:
            file.unlink()
        else:
            file.write_bytes(data)
        said = resumed(run)
        assert [text for text in said if str(file) in text and text.endswith("it is measured anew")] == said
        assert len(said) == (data is not None)
        assert files(run) == files(finished)


def test_a_measurement_of_a_model_that_is_gone_is_left_out(run: Path):
    shutil.rmtree(run / "checkpoints" / "round-001")
    (run / "evaluation" / "round-001.json").write_text("{}")
    assert any("round-001.json is gone, and so is the model of round 1: it is left out" in text for text in resumed(run))
    assert {e["round"] for e in json.loads((run / "summary.json").read_text())["win_rates"]} == {0, 2}


@pytest.mark.parametrize("kind", ["{}", "gone", *BAD_JSON])
def test_a_provenance_that_is_none_is_written_anew(finished: Path, run: Path, kind: str):
    file = run / "provenance.json"
    if kind == "gone":
        file.unlink()
    else:
        file.write_bytes(BAD_JSON.get(kind, b"{}"))
    (said,) = resumed(run)
    assert said.startswith(f"{file} is missing or damaged: it is written anew")
    assert json.loads(file.read_text())["inputs"] == json.loads((finished / "provenance.json").read_text())["inputs"]
    assert resumed(run) == []
    assert {**files(run), "provenance.json": b""} == {**files(finished), "provenance.json": b""}


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(path.read_bytes()[:-30]), Path.unlink, lambda path: path.write_bytes(b"x")]
)
def test_games_that_are_damaged_are_named_and_do_not_keep_a_run_from_its_report(run: Path, damage):
    games = run / "rounds" / "001" / "games.jsonl.gz"
    damage(games)
    (said,) = resumed(run)
    assert said.startswith(f"{games} is ")
    assert (run / "report.html").is_file()


def test_timings_keep_the_lines_that_can_be_read(finished: Path, run: Path):
    timings = run / "timings.jsonl"
    timings.write_text(f"[]\n{timings.read_text()}")
    (said,) = resumed(run)
    assert said.startswith(f"{timings}, line 1: ")
    assert timings.read_text() == (finished / "timings.jsonl").read_text()


@pytest.mark.parametrize("kind", [*BAD_JSON, '{"schema": 1}', '{"schema": 3, "rounds": [1], "win_rates": {}}'])
def test_a_summary_that_is_none_is_refused_in_a_sentence_and_written_anew(finished: Path, run: Path, kind: str, capsys):
    file = run / "summary.json"
    file.write_bytes(BAD_JSON.get(kind, kind.encode()))
    assert main(["report", str(run)]) == 2
    assert str(file) in capsys.readouterr().err
    assert resumed(run) == []
    assert files(run) == files(finished)
