"""The benchmark of busy machines: its arithmetic, its processes and what it refuses; no time."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sparring.benchmarks.speed import busy as speed_busy
from sparring.benchmarks.speed.busy import BusyConfig, Spent, busy, commands, compared, fair_share, measure, show, spent


def test_the_fair_share_is_what_is_left_of_all_threads():
    assert [fair_share(load) for load in (0, 0.5, 1, 3)] == [1, pytest.approx(2 / 3), 0.5, 0.25]


def test_medians_are_compared_with_the_fair_share_and_with_quiet():
    quiet = [Spent(10.0, 14.0), Spent(12.0, 16.0), Spent(11.0, 15.0)]
    result = compared({0: quiet, 0.5: [Spent(16.5, 15.0)], 3: [Spent(66.0, 30.0), Spent(88.0, 45.0)]})
    assert result["0"] == {"wall": 11.0, "cpu": 15.0, "wall_to_fair": 1.0, "cpu_to_quiet": 1.0}
    assert result["0.5"] == {"wall": 16.5, "cpu": 15.0, "wall_to_fair": pytest.approx(1.0), "cpu_to_quiet": 1.0}
    assert result["3"] == {"wall": 77.0, "cpu": 37.5, "wall_to_fair": 1.75, "cpu_to_quiet": 2.5}


def test_commands_run_beside_as_many_busy_processes_as_were_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    beside: list[int] = []
    seen: list[str] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})

    class Busy:
        def __init__(self, processes: int):
            beside.append(processes)

        __enter__ = __exit__ = lambda *parts: None

    monkeypatch.setattr(speed_busy, "busy", Busy)
    monkeypatch.setattr(speed_busy, "spent", lambda arguments: seen.append(" ".join(arguments)) or Spent(2.0, 3.0))
    config = BusyConfig(runs=2, loads=(0, 0.5, 3))
    result = measure(config)
    assert beside == [0, 1, 6] * 2 and len(seen) == 18
    assert sum("--seed 1" in one or "(32, 1)" in one for one in seen) == 9, "the second runs say other things"
    assert result["commands"].keys() == {"play", "train", "spag_loop"}
    assert result["commands"]["train"]["3"] == {"wall": 2.0, "cpu": 3.0, "wall_to_fair": 0.25, "cpu_to_quiet": 1.0}
    show(result)
    assert "train                  3      2.0      3.0               0.25         1.00" in capsys.readouterr().out


def test_busy_processes_end_with_the_block(monkeypatch: pytest.MonkeyPatch):
    started = []
    popen = speed_busy.subprocess.Popen
    monkeypatch.setattr(speed_busy.subprocess, "Popen", lambda *args: started.append(popen(*args)) or started[-1])

    def interrupted() -> None:
        with busy(2):
            assert [process.poll() for process in started] == [None, None]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [process.returncode for process in started] == [-9, -9]


def test_a_command_that_fails_is_no_figure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    one = spent([sys.executable, "-c", "import os; assert 'GOMP_SPINCOUNT' not in os.environ"])
    assert one.cpu > 0 and one.wall > 0
    with pytest.raises(ValueError, match=r"ended with status 3: .*no figure"):
        spent([sys.executable, "-c", "print('no figure'); raise SystemExit(3)"])


def test_the_commands_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from sparring.selfplay.cli.main import main

    made = commands(BusyConfig(), tmp_path)
    assert main([*made["train"][3:], "--dry-run"]) == 0
    assert made["play"][3] == "play" and main([*made["play"][3:-6], "--games", "2", "--show", "0"]) == 0
    episodes = []
    monkeypatch.setitem(speed_busy.LOOPS, "spag_loop", lambda setting, games, batch: episodes.append((setting.seed, games, batch)))
    exec(made["spag_loop"][2])
    assert episodes == [(0, 32, 32)]


@pytest.mark.parametrize("bad", [{"loads": (1, 2)}, {"loads": (0, 3, 1)}, {"loads": ()}, {"games": 100}, {"spag_games": 0}, {"runs": 0}])
def test_settings_without_sense_are_refused(bad):
    with pytest.raises(ValueError, match="must"):
        replace(BusyConfig(), **bad)
