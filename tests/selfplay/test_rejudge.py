"""Judging again, from files."""

import gzip
import json
from pathlib import Path

import pytest
from handmade import played

from sparring.agents.rollout import Match, play_all
from sparring.agents.simple import FunctionAgent
from sparring.envs.core import Task
from sparring.envs.taboo import AdversarialTaboo
from sparring.envs.twenty_questions import TwentyQuestions
from sparring.selfplay.cli import main
from sparring.selfplay.episodes import write_episodes


def test_utterances_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lines = [
        {"target": "cat", "role": "defender", "text": "I like cats."},
        {"target": "cat", "role": "defender", "text": "The location is secret."},
    ]
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert main(["judge", str(path)]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["reason"] for one in found] == ["uttered", None]
    assert found[0]["span"] == [7, 11]
    assert main(["judge", str(path), "--rule", "spag"]) == 0
    assert [json.loads(line)["reason"] for line in capsys.readouterr().out.splitlines()] == ["uttered", "uttered"]
    (tmp_path / "lines.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert main(["judge", str(tmp_path / "lines.jsonl.gz"), "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == found


def test_games_whose_outcome_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    game = AdversarialTaboo(max_turns=1)
    agents = {
        "attacker": FunctionAgent(lambda observation, rng: "Where is it?"),
        "defender": FunctionAgent(lambda observation, rng: "The location is secret."),
    }
    matches = [Match(word, game, Task(word, word, word, 0), agents, 0) for word in ("cat", "dog")]
    write_episodes(tmp_path / "games.jsonl.gz", play_all(matches))
    assert main(["judge", str(tmp_path / "games.jsonl.gz"), "--rule", "spag"]) == 0
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found["secret"] == "cat"
    assert (found["before"]["reason"], found["after"]["reason"]) == ("turn_limit", "uttered")
    assert main(["judge", str(tmp_path / "games.jsonl.gz"), "--rule", "lemma"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ('{"target": "cat"}', [], "line 1"),
        ('{"target": "cat", "role": "defender", "text": "x"}', ["--rule", "stem"], "unknown rule 'stem'"),
        ("nonsense", [], "line 1: not JSON lines"),
        ("[1, 2]", [], "line 1: not JSON lines (an object is needed, got [1, 2])"),
        ("5", [], "line 1: not JSON lines (an object is needed, got 5)"),
        ('{"target": "cat", "role": "defender", "text": "x"}\n\nnull', [], "line 3: not JSON lines"),
        ('{"target": "cat", "role": "judge", "text": "x"}', [], "line 1: unknown role 'judge'; known roles: attacker, defender"),
        ('{"target": "?!", "role": "defender", "text": "x"}', [], "line 1: the target '?!' holds no letter or digit"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: list[str], message: str):
    path = tmp_path / "lines.jsonl"
    path.write_text(text + "\n")
    assert main(["judge", str(path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_void_game_has_not_changed_unless_a_rule_ends_it_earlier(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    games = [played("harmless", "Hm."), played("near", "Hm.", "Lemonade is good.")]
    assert {p.outcome.reason for p in games} == {"void"}
    write_episodes(tmp_path / "games.jsonl.gz", games)
    assert main(["judge", str(tmp_path / "games.jsonl.gz"), "--rule", "lemma"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["judge", str(tmp_path / "games.jsonl.gz"), "--rule", "spag"]) == 0
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (found["id"], found["before"]["reason"], found["after"]["reason"]) == ("near", "void", "uttered")


@pytest.mark.parametrize("damage", [b"no gzip", gzip.compress(b'{"target": "cat"}\n' * 99)[:-9]], ids=["no gzip", "cut off"])
def test_a_damaged_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: bytes):
    (tmp_path / "lines.jsonl.gz").write_bytes(damage)
    assert main(["judge", str(tmp_path / "lines.jsonl.gz")]) == 2
    assert "lines.jsonl.gz" in capsys.readouterr().err


def test_games_without_a_rule_of_words_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    agents = dict.fromkeys(TwentyQuestions.roles, FunctionAgent(lambda observation, rng: "No."))
    match = Match("m", TwentyQuestions(max_turns=1), Task("m", "lemon", "lemon", 0), agents, 0)
    write_episodes(tmp_path / "games.jsonl.gz", play_all([match]))
    assert main(["judge", str(tmp_path / "games.jsonl.gz")]) == 2
    assert "m: TwentyQuestions has no rule of word matching" in capsys.readouterr().err
