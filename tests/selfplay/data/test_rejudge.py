"""Judging again, from files."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from handmade import make_episode

from sparring.agents.players.simple import FunctionAgent
from sparring.agents.rollout import Match, play_all
from sparring.envs.core import Task
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.games.twenty_questions import TwentyQuestions
from sparring.selfplay.cli.main import main
from sparring.selfplay.storage.episodes import record, write_episodes


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
    games = [make_episode("harmless", "Hm."), make_episode("near", "Hm.", "Lemonade is good.")]
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


def damaged(line: dict) -> Iterator[bytes]:
    """Lines that are no game any more, or are odd ones: every value removed, or another one in its place; and what is no JSON."""
    odd = [None, True, 0, -1, 1.5, 10**400, float("nan"), float("inf"), "", "x", "\ud800\x1b[2J", [], {}, [[]], {"x": None}, "y" * 9999]

    def variants(value: Any) -> Iterator[Any]:
        yield from (other for other in odd if other is not value)
        if isinstance(value, dict):
            for key, inner in value.items():
                yield {other: kept for other, kept in value.items() if other != key}
                yield from ({**value, key: changed} for changed in variants(inner))
        if isinstance(value, list):
            for i, inner in enumerate(value):
                yield value[:i] + value[i + 1 :]
                yield from ([*value[:i], changed, *value[i + 1 :]] for changed in variants(inner))

    yield from (json.dumps(other).encode() for other in variants(line))
    whole = json.dumps(line).encode()
    yield from (whole[:-1], whole[1:], whole * 2, whole[:99] + b"\xff" + whole[100:], whole.replace(b"lemon", b"le\0mon"))
    yield from (b"[" * 5000, b'{"schema": ' * 5000, b"nonsense", b"\x00", b"\xef\xbb\xbf" + whole, b"1" * 5000)


def test_damaged_lines_are_named_and_all_others_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Under the substring rule "Lemonade" decides the good game."""
    write_episodes(tmp_path / "games.jsonl.gz", [make_episode("good", "Hm.", "Lemonade is good.")])
    (good,) = gzip.decompress((tmp_path / "games.jsonl.gz").read_bytes()).splitlines()
    other = json.loads(good)
    other["game"]["name"], other["utterances"] = "AdversarialTaboo-DrawingOut", other["utterances"][:1]
    bad = [*damaged(json.loads(good)), *damaged({"target": "cat", "role": "attacker", "text": "Hm."})]
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b"\n".join([good, *bad, json.dumps(other).encode(), good]))
    assert main(["judge", str(path), "--rule", "spag"]) == 2
    out, err = capsys.readouterr()
    judged = [json.loads(line) for line in out.splitlines()]
    assert [one.get("id") for one in (judged[0], judged[-1])] == ["good", "good"]
    named = [int(number) for number in re.findall(rf"^sparring judge: {path}, line (\d+): ", err, re.MULTILINE)]
    assert len(named) > 500 and named == sorted(set(named)) and max(named) == len(bad) + 1
    assert len(err.splitlines()) == len(named) + 1 and max(map(len, err.splitlines())) < 500, "a sentence each"
    assert f"{len(named)} lines could not be judged" in err.splitlines()[-1]
    assert not re.search(r"[^\n -~\ufffd]", out + err), "nothing steers the terminal"


def test_a_file_of_something_else_is_not_read_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sparring.selfplay.data.rejudge.MOST_BAD", 5)
    (tmp_path / "log.txt").write_bytes(b"\xff\n" * 99)
    assert main(["judge", str(tmp_path / "log.txt")]) == 2
    *lines, end, last = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 and lines[4].startswith(
        f"sparring judge: {tmp_path}/log.txt, line 5: this is not a whole file of text: no UTF-8"
    )
    assert end.endswith("log.txt: 5 lines cannot be judged, so the file is not read on") and last.startswith("sparring: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": True}, "schema of a game must be a whole number, got True"),
        ({"game": None}, "game of a game must be an object"),
        ({"game": {"name": "AdversarialTaboo"}}, "game has no config"),
        ({"game": {"name": "AdversarialTaboo", "config": {"rule": "lemma", "speed": 3}}}, "unexpected keyword argument 'speed'"),
        ({"game": {"name": "AdversarialTaboo", "config": {"rule": "lemma", "max_turns": True}}}, "whole numbers of at least 1"),
        ({"game": {"name": "AdversarialTaboo", "config": {"rule": "lemma", "payoffs": [1]}}}, "payoffs are of guess and tie"),
        ({"game": {"name": "Chess", "config": {"rule": "lemma"}}}, "unknown game 'Chess'"),
        ({"task": {"id": "t", "secret": 5, "group": "g", "seed": 0}}, "secret of task must be a text, got 5"),
        ({"task": {"id": "t", "secret": "ab " * 999, "group": "g", "seed": 0}}, "a target of 2,997 characters; the longest"),
        ({"utterances": None}, "utterances of a game must be a list"),
        ({"utterances": [{"role": "defender", "text": "Hm.", "truncated": False}]}, "'defender' speaks where it is the turn of 'attacker'"),
        ({"outcome": {"utilities": {}, "winner": "attacker", "reason": "foul", "evidence": None}}, "winner 'attacker' has no utility"),
        (
            {"outcome": {"utilities": {}, "winner": None, "reason": "x", "evidence": {"turn": 9, "start": 0, "end": 0, "matched": ""}}},
            "evidence is no part of what was said",
        ),
    ],
)
def test_what_is_wrong_with_a_game_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict, message: str):
    line = {**record(make_episode("good", "Hm.", "Lemonade is good.")), **change}
    (tmp_path / "games.jsonl").write_text(json.dumps(line) + "\n")
    assert main(["judge", str(tmp_path / "games.jsonl")]) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert message in first and "games.jsonl, line 1: " in first
    assert last.endswith("1 line could not be judged")
