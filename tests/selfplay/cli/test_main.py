"""What all commands have in common, as a person calls them."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from commands import SMALL, sparring

from sparring.selfplay.cli import main as cli
from sparring.selfplay.cli.main import COMMANDS, main


def test_help_lists_every_command_and_is_quick_to_import():
    done = sparring("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    code = (
        "import sys, sparring.selfplay.cli.main\nsys.exit(' '.join({'torch', 'transformers', 'tyro', 'rich'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at once at the end", "line by line"])
@pytest.mark.parametrize("arguments", ["words --words everyday", "games {run}", "--version"])
def test_who_reads_the_output_may_have_seen_enough(arguments: str, unbuffered: str, few_games: Path):
    command = [Path(sys.executable).with_name("sparring"), *arguments.format(run=few_games).split()]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_a_terminal_need_not_have_every_character(few_games: Path):
    command = [Path(sys.executable).with_name("sparring"), "games", few_games, "--count", "1"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"") and b"attacker: Hm.\\ufffd[2J" in done.stdout


def test_output_that_cannot_be_written_is_one_sentence():
    with open("/dev/full", "w") as full:
        command = [Path(sys.executable).with_name("sparring"), "words", "--count", "--words", "everyday"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "sparring: [Errno 28] No space left on device\n"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]):
    for switch in ("--version", "-V"):
        assert main([switch]) == 0
        assert capsys.readouterr().out == f"sparring {version('sparring')}\n"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str):
    done = sparring(name, "--help")
    assert done.returncode == 0
    assert f"sparring {name}" in done.stdout


WITHOUT_TORCH = [
    ["play", "--opponent", "nobody"],
    ["play", "--player", "mini", "--opponent", "scripted", "--words", "common"],
    ["play", "--opponent", "mini", "--games", "0"],
    ["play", "--opponent", "mini", "--temperature", "-1"],
    ["play", "--opponent", "mini", "--words", "nonsense"],
    ["play", "--opponent", "mini", "--role", "nobody"],
    ["play", "--opponent", "./nowhere"],
    ["play", "--opponent", "openai:m"],
    ["tournament", "mini", "mini"],
    ["tournament", "mini", "minni"],
    ["tournament", "mini"],
    ["collect", "x.jsonl", "--teacher", "nobody"],
    ["collect", "README.md", "--teacher", "mini"],
    ["collect", "x.jsonl", "--teacher", "mini", "--games", "3", "--group-size", "2"],
    ["collect", "x.jsonl", "--teacher", "mini", "--prompts", "nowhere"],
    ["bench", "scripted"],
    ["bench", "mini", "--against", "./nowhere"],
    ["bench", "mini", "--items", "0"],
    ["train", "--model", "./nowhere"],
    ["train", "--resume", "nowhere"],
    ["games", "nowhere"],
    ["report", "nowhere"],
    ["words", "--words", "nonsense"],
    ["export", "./nowhere", "x"],
]


def test_bad_values_are_answered_before_torch_is_imported():
    """All in one process: whichever imports it is named."""
    code = f"""
import sys
from sparring.selfplay.cli.main import main
for arguments in {WITHOUT_TORCH!r}:
    assert main(arguments) == 2, arguments
    assert "torch" not in sys.modules, arguments
assert main(["play", "--player", "scripted", "--opponent", "random", "--games", "2", "--role", "attacker"]) == 0
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr


NO_MEMORY = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


@pytest.mark.parametrize("error", [RuntimeError(NO_MEMORY), MemoryError(), OSError(12, "Cannot allocate memory")], ids=repr)
def test_running_out_of_memory_is_said_with_what_helps(error: Exception, model: Path, tmp_path: Path, capsys, monkeypatch):
    def raises(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("sparring.selfplay.learner.learner.Learner.update", raises)
    out = str(tmp_path / "run")
    assert main(["train", "--model", str(model), *SMALL, "--evaluation.games", "0", "--evaluation.control", "False", "--out", out]) == 2
    said = capsys.readouterr().err
    assert "sparring: out of memory (" in said and "--learner.token-budget" in said and "--max-memory" in said
    assert f"continue with: sparring train --resume {out}" in said and "Traceback" not in said
    monkeypatch.setattr("sparring.agents.engine.attention.PackedModel.forward", raises)
    assert main(["play", "--player", "random", "--opponent", "mini", "--games", "2"]) == 2
    said = capsys.readouterr().err
    assert "sparring: out of memory (" in said and "--max-memory" in said and "--games" in said


def test_other_errors_are_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch):
    def raises(arguments: list[str]) -> int:
        raise RuntimeError("a tensor has the wrong shape")

    monkeypatch.setitem(COMMANDS, "words", raises)
    with pytest.raises(RuntimeError, match="wrong shape"):
        main(["words"])


def test_a_reader_may_stop_early():
    command = [sys.executable, "-c", "from sparring.selfplay.cli.main import entry; entry()", "words", "--band", "1-50000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "time\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_bytes_that_are_no_text_are_read_as_the_character_for_such(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9?\n"), encoding="utf-8"))
    heard: list[str] = []
    monkeypatch.setattr(cli, "main", lambda: heard.append(input()) or 0)
    with pytest.raises(SystemExit):
        cli.entry()
    assert heard == ["caf\ufffd?"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean 'train'"),
        (["data", "convert", "nowhere"], "nowhere is no folder"),
        (["data"], "data has one command"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, refused: Callable[[list[str], str], None]):
    refused(arguments, message)
