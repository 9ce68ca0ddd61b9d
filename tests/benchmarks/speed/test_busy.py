"""The benchmark of busy machines: its arithmetic, its processes and what it refuses; no time."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sparring.benchmarks.speed import busy as speed_busy
from sparring.benchmarks.speed.busy import BusyConfig, Command, Spent, busy, commands, compared, fair_share, measure, show, spent


def test_the_fair_share_is_what_is_left_of_all_threads():
    assert [fair_share(load) for load in (0, 0.5, 1, 3)] == [1, pytest.approx(2 / 3), 0.5, 0.25]


def test_medians_are_compared_with_the_fair_share_and_with_quiet():
    quiet = [Spent(10.0, 14.0), Spent(12.0, 16.0), Spent(11.0, 15.0)]
    result = compared({0: quiet, 0.5: [Spent(16.5, 15.0)], 3: [Spent(66.0, 30.0), Spent(88.0, 45.0)]})
    assert result["0"] == {"wall": 11.0, "cpu": 15.0, "wall_to_fair": 1.0, "cpu_to_quiet": 1.0}
    assert result["0.5"] == {"wall": 16.5, "cpu": 15.0, "wall_to_fair": pytest.approx(1.0), "cpu_to_quiet": 1.0}
    assert result["3"] == {"wall": 77.0, "cpu": 37.5, "wall_to_fair": 1.75, "cpu_to_quiet": 2.5}


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Busy processes that were asked for; none are started."""
    processes: list[int] = []

    class Busy:
        def __init__(self, count: int):
            processes.append(count)

        __enter__ = __exit__ = lambda *parts: None

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(speed_busy, "busy", Busy)
    return processes


def test_commands_run_beside_as_many_busy_processes_as_were_asked_for(
    beside: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    ran: list[Command] = []
    monkeypatch.setattr(speed_busy, "spent", lambda command: ran.append(command) or Spent(2.0, 3.0))
    result = measure(BusyConfig(runs=2, loads=(0, 0.5, 3)))
    assert beside == [0, 1, 6] * 2 and len(ran) == 24
    assert [command.spin_count for command in ran[:4]] == [None, "300000", None, None]
    said = [" ".join(command.arguments) for command in ran]
    assert sum("--seed 1" in one or "(32, 1)" in one for one in said) == 12, "the second runs say other things"
    assert result["commands"].keys() == {"play watched", "play 300000", "train", "spag_loop"}
    assert result["commands"]["train"]["3"] == {"wall": 2.0, "cpu": 3.0, "wall_to_fair": 0.25, "cpu_to_quiet": 1.0}
    show(result)
    assert "train                      3      2.0      3.0               0.25         1.00" in capsys.readouterr().out


def test_what_was_measured_before_an_interruption_is_not_measured_again(beside: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = BusyConfig(runs=1, loads=(0, 1), policies=("watched",), result=tmp_path / "busy.json")
    ran: list[list[str]] = []

    def interrupted(command: Command) -> Spent:
        if len(ran) == 4:
            raise KeyboardInterrupt
        ran.append(command.arguments)
        return Spent(float(len(ran)), 0.5)

    monkeypatch.setattr(speed_busy, "spent", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(config)
    monkeypatch.setattr(speed_busy, "spent", lambda command: ran.append(command.arguments) or Spent(float(len(ran)), 0.5))
    result = measure(config)
    assert len(ran) == 6 and beside[-2:] == [0, 2]
    assert [result["runs"][name]["1"][0]["wall"] for name in ("play watched", "train", "spag_loop")] == [4.0, 5.0, 6.0]
    with pytest.raises(ValueError, match="other settings"):
        measure(replace(config, games=16))


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
    one = spent(Command([sys.executable, "-c", "import os; assert 'GOMP_SPINCOUNT' not in os.environ"]))
    assert one.cpu > 0 and one.wall > 0
    spent(Command([sys.executable, "-c", "import os; assert os.environ['GOMP_SPINCOUNT'] == '9'"], "9"))
    with pytest.raises(ValueError, match=r"ended with status 3: .*no figure"):
        spent(Command([sys.executable, "-c", "print('no figure'); raise SystemExit(3)"]))


def test_the_commands_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from sparring.selfplay.cli.main import main

    by_name = commands(BusyConfig(), tmp_path)
    train, play = by_name["train"].arguments[3:], by_name["play 300000"].arguments[3:]
    assert main([*train, "--dry-run"]) == 0
    assert play[0] == "play" and main([*play[:-6], "--games", "2", "--show", "0"]) == 0
    episodes = []
    monkeypatch.setitem(speed_busy.LOOPS, "spag_loop", lambda setting, games, batch: episodes.append((setting.seed, games, batch)))
    exec(by_name["spag_loop"].arguments[2])
    assert episodes == [(0, 32, 32)]


@pytest.mark.parametrize(
    "bad",
    [
        {"loads": (1, 2)},
        {"loads": (0, 3, 1)},
        {"loads": ()},
        {"games": 100},
        {"spag_games": 0},
        {"runs": 0},
        {"policies": ()},
        {"policies": ("never",)},
    ],
)
def test_settings_without_sense_are_refused(bad):
    with pytest.raises(ValueError, match="must"):
        replace(BusyConfig(), **bad)
