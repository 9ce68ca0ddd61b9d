"""One writer for a run or a file: the second is told who the first is, and a killed one leaves nothing behind."""

import os
import signal
import time
from pathlib import Path

import pytest

from sparring.selfplay.storage.folder import RunFolder
from sparring.selfplay.storage.locks import locked, new_file, unfinished


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path):
    lock = tmp_path / ".lock"
    with locked(tmp_path, lock):
        with (
            pytest.raises(ValueError, match=rf"{tmp_path} is being written by process {os.getpid()} on .+ since \d{{4}}-"),
            locked(tmp_path, lock),
        ):
            pass
        assert lock.exists(), "whoever was refused leaves the lock to its holder"
    assert list(tmp_path.iterdir()) == []


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path: Path):
    lock, ready = tmp_path / ".lock", tmp_path / "ready"
    child = os.fork()
    if child == 0:
        with locked(tmp_path, lock):
            ready.touch()
            time.sleep(600)
    while not ready.exists():
        time.sleep(0.01)
    with pytest.raises(ValueError, match=f"process {child} "), locked(tmp_path, lock):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert lock.exists()
    with locked(tmp_path, lock):
        assert f"process {os.getpid()} " in lock.read_text()


def test_a_lock_that_says_nothing_or_steers_a_terminal_is_refused_in_plain_text(tmp_path: Path):
    lock = tmp_path / ".lock"
    for text, said in ((b"", "another process"), (b"\x1b[2J\xff", "[2J")):
        with locked(tmp_path, lock):
            lock.write_bytes(text)
            with pytest.raises(ValueError, match="is being written by") as refused, locked(tmp_path, lock):
                pass
        assert said in str(refused.value) and "\x1b" not in str(refused.value)


def test_a_new_file_has_one_writer_and_loses_what_a_killed_one_left(tmp_path: Path):
    path = tmp_path / "made" / "f.jsonl.gz"
    with new_file(path):
        with pytest.raises(ValueError, match="is being written by process"), new_file(path):
            pass
        path.write_text("games")
    with pytest.raises(ValueError, match="exists; choose a new file"), new_file(path):
        pass
    path.unlink()
    others = [path.with_name(name) for name in (".g.jsonl.gz.0123abcd.part", ".f.jsonl.gz.part.txt", "f.jsonl")]
    for other in (*others, unfinished(path)):
        other.write_text("half")
    with new_file(path):
        assert sorted(path.parent.iterdir()) == sorted([*others, path.with_name(".f.jsonl.gz.lock")])


def test_names_of_unfinished_files_are_never_the_same(tmp_path: Path):
    assert len({unfinished(tmp_path / "f") for _ in range(100)}) == 100


def test_a_path_that_is_no_text_is_refused_before_anything_is_made(tmp_path: Path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    for take in (lambda: new_file(path), lambda: RunFolder.claimed(path, "mini")):
        with pytest.raises(ValueError, match="is no UTF-8 text"), take():
            pass
    assert list(tmp_path.iterdir()) == []


def test_runs_that_begin_at_once_get_a_folder_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with RunFolder.claimed(None, "mini") as one, RunFolder.claimed(None, "mini") as two:
        assert (one, two) == (Path("runs/mini-1"), Path("runs/mini-2"))
        with pytest.raises(ValueError, match="mini-1 is being written by process"), RunFolder.claimed(one, "mini"):
            pass
        RunFolder.create(two, "seed: 1\n", {})
    assert [p.name for p in Path("runs").iterdir()] == ["mini-2"], "what did not begin vanishes"
    assert sorted(p.name for p in two.iterdir()) == ["config.yaml", "provenance.json"]
    with RunFolder.claimed(Path("runs") / "of" / "mine", "mini") as made:
        assert made.is_dir()
    assert [p.name for p in Path("runs").iterdir()] == ["mini-2"]


def test_a_killed_begin_is_begun_anew_in_its_folder(tmp_path: Path):
    for name in (".lock", ".provenance.json.0123abcd.part", ".config.yaml.0123abcd.part", "provenance.json"):
        (tmp_path / name).write_text("{")
    with RunFolder.claimed(tmp_path, "mini"):
        RunFolder.create(tmp_path, "seed: 1\n", {"seed": 1})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "provenance.json"]
