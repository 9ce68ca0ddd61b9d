"""A run's folder: refuses what is not its own, writes whole files only, forgets what was interrupted."""

import errno
import json
from pathlib import Path

import pytest

from sparring.selfplay.storage.folder import RunFolder, next_free, read_lines, require_space, to_json, write_text, writing
from sparring.selfplay.storage.provenance import provenance


def test_create_and_open(tmp_path: Path):
    run = RunFolder.create(tmp_path / "a" / "run", "seed: 1\n", {"seed": 1})
    assert run.config.read_text() == "seed: 1\n"
    assert json.loads((run.path / "provenance.json").read_text()) == {"seed": 1}
    assert RunFolder.open(run.path) == run


def test_another_run_is_refused_and_left_alone(tmp_path: Path):
    RunFolder.create(tmp_path, "seed: 1\n", {})
    with pytest.raises(ValueError, match="holds another run; continue it with --resume"):
        RunFolder.create(tmp_path, "seed: 2\n", {})
    assert (tmp_path / "config.yaml").read_text() == "seed: 1\n"


def test_foreign_folders_and_files_are_refused(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="no empty folder"):
        RunFolder.create(tmp_path, "", {})
    with pytest.raises(ValueError, match="no empty folder"):
        RunFolder.create(tmp_path / "thesis.txt", "", {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_open_says_what_is_missing(tmp_path: Path):
    with pytest.raises(ValueError, match="no such run folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(ValueError, match="is no run folder"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("name", ["rounds", "rounds/001", "checkpoints", "checkpoints/round-000", "evaluation", "tensorboard"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, name: str):
    run = RunFolder.create(tmp_path / "run", "seed: 1\n", {})
    (run.path / name).parent.mkdir(exist_ok=True)
    (run.path / name).write_text("precious")
    with pytest.raises(ValueError, match=f"{name} is a file, and the run keeps a folder of that name: move the file out of the run"):
        RunFolder.open(run.path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "summary.json"
    write_text(path, "old")

    def fail() -> None:
        with writing(path) as aside:
            aside.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_a_full_disk_is_named(tmp_path: Path):
    def fill() -> None:
        with writing(tmp_path / "games.gz"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"no space left on the disk while writing .*games\.gz"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_space_is_checked_before_anything_is_written(tmp_path: Path):
    require_space(tmp_path / "run", 1)
    with pytest.raises(ValueError, match="MiB left"):
        require_space(tmp_path / "not" / "there", 2**60)


def test_forget_after(tmp_path: Path):
    run = RunFolder.create(tmp_path, "", {})
    for number in (1, 2, 3):
        run.append(run.metrics, {"round": number})
        write_text(run.games(number), "x")
    with run.metrics.open("a") as file:
        file.write('{"round": 4, "los')
    run.forget_after(2)
    assert [r["round"] for r in read_lines(run.metrics)] == [1, 2]
    assert [run.games(n).exists() for n in (1, 2, 3)] == [True, True, False]


def test_forgetting_can_leave_the_next_rounds_games(tmp_path: Path):
    run = RunFolder.create(tmp_path, "", {})
    for number in (1, 2, 3):
        write_text(run.streams(number), "x")
    run.forget_after(1, keep_games=True)
    assert [run.streams(n).exists() for n in (1, 2, 3)] == [False, True, False], "round 1 is safe, round 3 was never begun"


def test_what_was_never_finished_is_swept_away(tmp_path: Path):
    run = RunFolder.create(tmp_path, "", {})
    (run.checkpoints / ".round-003.part" / "model").mkdir(parents=True)
    (tmp_path / "rounds" / "001").mkdir(parents=True)
    (tmp_path / "rounds" / "001" / ".games.jsonl.gz.part").write_text("half")
    run.sweep()
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["config.yaml", "provenance.json"]
    assert list(run.checkpoints.iterdir()) == []


def test_a_run_that_was_killed_before_it_began_can_begin(tmp_path: Path):
    (tmp_path / "provenance.json").write_text("{}")
    (tmp_path / ".config.yaml.part").write_text("se")
    run = RunFolder.create(tmp_path, "seed: 1\n", {"seed": 1})
    assert json.loads((run.path / "provenance.json").read_text()) == {"seed": 1}


def test_a_bad_line_in_the_middle_is_refused(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"round": 1}\n{"rou\n{"round": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_lines(path)


def test_json_refuses_what_is_no_number():
    with pytest.raises(ValueError, match="Out of range"):
        to_json({"loss": float("nan")})
    assert to_json({"b": 1, "a": "é"}) == to_json({"a": "é", "b": 1})


def test_next_free(tmp_path: Path):
    assert next_free(tmp_path, "mini") == tmp_path / "mini-1"
    (tmp_path / "mini-1").mkdir()
    assert next_free(tmp_path, "mini") == tmp_path / "mini-2"


def test_provenance_is_json():
    found = json.loads(to_json(provenance(3, model="mini")))
    assert found["seed"] == 3 and found["model"] == "mini"
    assert found["versions"]["torch"] and found["hardware"]["cores"] >= 1
