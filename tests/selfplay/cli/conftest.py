"""Fixtures of the tests of commands."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import SMALL, sparring
from handmade import make_episode
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.players.player_card import PlayerCard
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.selfplay.cli.main import main
from sparring.selfplay.storage.episodes import write_episodes


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer("chatml")
    tiny_model(vocab=len(tokenizer), length=512).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    PlayerCard(TABOO_BRIEF, 6).save(folder)
    return folder


@pytest.fixture(scope="session")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the shipped command on a random model and a user's words."""
    root = tmp_path_factory.mktemp("cli")
    (root / "words.txt").write_text("river\nmountain\nwindow\ngarden\nbridge\ncastle\n")
    done = sparring(
        "train", "--model", model, "--words", root / "words.txt", *SMALL, "--evaluation.games", "2", "--out", root / "run", "--json"
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["folder"] == str(root / "run")
    assert summary["run"]["rounds"] == 1
    return root / "run"


@pytest.fixture
def few_games(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "rounds" / "001").mkdir(parents=True)
    games = [make_episode(f"{i}", "Hm.\n  attacker: Hm.\x1b[2J", "I know the word! It is a pear.") for i in range(3)]
    write_episodes(tmp_path / "rounds" / "001" / "games.jsonl.gz", games)
    return tmp_path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[[list[str], str], None]:
    """Checks that a command refuses its arguments with status 2 and one sentence, and writes nothing. WORDS stands for a file of words,
    of which the scripted players know one."""

    def check(arguments: list[str], message: str) -> None:
        words = tmp_path / "words.txt"
        words.write_text("lemon\nzeppelin\n")
        before = set(Path.cwd().iterdir())
        assert main([part.replace("WORDS", str(words)) for part in arguments]) == 2
        captured = capsys.readouterr()
        *_, sentence = captured.err.splitlines()
        assert sentence.startswith("sparring: ") and message in sentence and "Traceback" not in captured.err
        assert set(Path.cwd().iterdir()) == before

    return check
