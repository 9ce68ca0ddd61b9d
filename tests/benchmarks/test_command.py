"""The command line of the benchmarks: bad input is one sentence and status 2, never a traceback."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

import sparring.benchmarks
from sparring.benchmarks.command import command


@dataclass(frozen=True)
class Config:
    """Settings."""

    games: int = 3
    """How many."""


def run(config: Config) -> None:
    if config.games < 1:
        raise ValueError(f"games must be at least 1, got {config.games}")
    print(f"{config.games} games")


@pytest.mark.parametrize(
    ("arguments", "status", "out", "err"),
    [
        (["--games", "2"], 0, "2 games\n", ""),
        (["--games", "0"], 2, "", "python -m sparring.benchmarks.it: games must be at least 1, got 0\n"),
    ],
)
def test_the_exit_status_tells_bad_input(
    arguments: list[str], status: int, out: str, err: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["it", *arguments])
    with pytest.raises(SystemExit) as end:
        command("it", Config, run, "What it does.")
    assert (end.value.code, *capsys.readouterr()) == (status, out, err)


@pytest.mark.parametrize(("arguments", "status"), [(["--games", "many"], 2), (["--gamse", "2"], 2), (["--help"], 0)])
def test_bad_options_and_help(arguments: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.argv", ["it", *arguments])
    with pytest.raises(SystemExit) as end:
        command("it", Config, run, "What it does.")
    assert end.value.code == status
    said = capsys.readouterr()
    assert "sparring.benchmarks.it" in said.out + said.err


def test_every_benchmark_that_is_a_program_goes_through_it():
    for path in Path(sparring.benchmarks.__path__[0]).glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text:
            last = ast.parse(text).body[-1]
            assert isinstance(last, ast.If)
            assert ast.unparse(last.body[0]).startswith(f"command('{path.stem}', "), path.name
