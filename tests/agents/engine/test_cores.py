"""Cores shared with other programs: who decides how threads wait, when they sleep soon, and that they do."""

import os
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from sparring.agents.engine import cores
from sparring.agents.engine.cores import LONGEST, SHORTEST, IdleTeam, Patience, openmp, share_cores, since, waited
from sparring.selfplay.cli import main as cli


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads that would have begun."""
    names: list[str] = []

    class Thread:
        def __init__(self, *, name: str, **others: object):
            self.name = name

        def start(self) -> None:
            names.append(self.name)

    monkeypatch.setattr(cores, "Thread", Thread)
    monkeypatch.setattr(cores, "waited", dict)
    return names


def test_the_environment_decides_before_us(begun: list[str], monkeypatch: pytest.MonkeyPatch):
    before = dict(os.environ)
    for given in ({"GOMP_SPINCOUNT": "1000"}, {"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}):
        assert not share_cores(given) and begun == []
    for given in ({}, {"GOMP_SPINCOUNT": "", "OMP_NUM_THREADS": "4"}):
        assert share_cores(given)
    assert begun == ["load", "load"] and dict(os.environ) == before


def test_the_command_shares_the_cores_before_it_runs(monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    monkeypatch.setattr(cli, "share_cores", lambda: done.append("shared"))
    monkeypatch.setattr(cli, "main", lambda: done.append("run") or 3)
    with pytest.raises(SystemExit) as end:
        cli.entry()
    assert done == ["shared", "run"] and end.value.code == 3


@pytest.mark.parametrize("error", [FileNotFoundError("no /proc"), PermissionError("not yours"), ValueError("no number")])
def test_a_system_that_does_not_say_how_long_threads_wait_is_left_alone(
    begun: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail() -> dict[str, float]:
        raise error

    monkeypatch.setattr(cores, "waited", fail)
    assert not share_cores({}) and begun == []


def test_what_threads_have_waited_since_is_added_up(tmp_path: Path):
    for number, text in enumerate(("5000000 1500000000 7\n", "1 500000000 2\n")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "schedstat").write_text(text)
    assert waited(tmp_path) == {"0": 1.5, "1": 0.5}
    assert since({"0": 1.0, "ended": 9.0}, waited(tmp_path)) == 1.0
    (tmp_path / "2").mkdir()
    with pytest.raises(FileNotFoundError):
        waited(tmp_path)


def asleep(*shortages: bool) -> list[bool]:
    patience = Patience()
    return [patience.look(short) for short in shortages]


def spells(answers: list[bool]) -> list[int]:
    """Lengths of the runs of True."""
    return [len(run) for run in "".join("x" if answer else " " for answer in answers).split()]


def test_threads_sleep_soon_while_cores_are_short():
    assert not any(asleep(*[False] * 50))
    assert spells(asleep(*[False] * 3, True, *[False] * 50)) == [SHORTEST], "a single shortage"
    assert asleep(False, True)[-1], "at once"
    always = spells(asleep(*[True] * 400))
    assert always[:4] == [5, 10, 20, 40] and set(always[4:-1]) == {LONGEST}, "trials become rare while cores stay short"
    assert sum(asleep(*[True] * 400)) > 380
    later = [True] * 6 + [False] * 20 + [True] + [False] * 20
    assert spells(asleep(*later)) == [SHORTEST, SHORTEST], "a new shortage is as short as the first"


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def test_an_idle_team_is_one_thread_larger_than_the_machine_and_ends():
    import torch  # noqa: F401

    library = openmp()
    assert library is not None, "torch for Linux brings GNU's OpenMP"
    before = threads()
    team = IdleTeam(library)
    team.made.wait()
    assert threads() == before + library.omp_get_num_procs() + 1
    team.leave()
    while threads() > before:
        time.sleep(0.01)


@pytest.mark.parametrize("module", [None, ModuleType("torch")])
def test_a_torch_that_is_not_there_yet_is_waited_for(module: ModuleType | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", module)
    assert openmp() is None


def test_a_torch_without_gnu_openmp_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    other = ModuleType("torch")
    other.__file__, other.compile = str(tmp_path / "__init__.py"), None
    monkeypatch.setitem(sys.modules, "torch", other)
    assert openmp() is None
