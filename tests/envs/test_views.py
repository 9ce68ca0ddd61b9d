"""Prompts of files, and how hostile text is shown."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from sparring.envs.core import GameSpec, Task
from sparring.envs.games.prompts import TABOO_BRIEF, TWENTY_QUESTIONS, load_prompts
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.envs.hosting.gymnasium_env import TabooEnv
from sparring.envs.views import brief, inset, one_line, printable

GOOD = {"attacker": "{{a}} {word} {max_turns}", "defender": "{max_turns} {max_turns}"}


def test_control_characters_become_symbols_and_nothing_else_changes():
    text = "Hm.\x1b[2J\r\x9b\x7f\u202e\ud800 naïve\u00a0犬\nline"
    assert printable(text) == "Hm.\ufffd[2J\ufffd\ufffd\ufffd\ufffd\ufffd naïve 犬\nline"
    assert one_line("a\nb\x85c\u2028") == "a\ufffdb\ufffdc\ufffd"
    assert inset("a\n\nb") == "a\n        \n        b"
    assert len(printable(text)) == len(one_line(text)) == len(text)


def test_an_error_is_one_short_line():
    assert brief(KeyError("game")) == "'game' is missing"
    assert brief(ValueError("a\n  b\x1b")) == "a b\ufffd"
    assert brief("x" * 999, 5) == "xxxxx..."


def prompts_file(folder: Path, data: Any) -> str:
    path = folder / "prompts.json"
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return str(path)


def test_prompts_of_a_file(tmp_path: Path):
    marked = prompts_file(tmp_path, b"\xef\xbb\xbf" + json.dumps(asdict(TABOO_BRIEF)).encode())
    assert load_prompts(marked, ("attacker", "defender")) == TABOO_BRIEF
    state = AdversarialTaboo(max_turns=3).start(Task("t", "lemon", "t", 0))
    prompts = load_prompts(prompts_file(tmp_path, {"system": GOOD, "opening": "Naïve 👩\u200d🏫\n", "note": 5}))
    assert prompts.render(state.observe("attacker"))[0].content == "{a} lemon 3"
    both = {**GOOD, **TWENTY_QUESTIONS.system}
    assert load_prompts(prompts_file(tmp_path, {"system": both, "opening": ""}), ("asker", "answerer")).system == both


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ({"attacker": "x"}, "a template is missing for defender"),
        ({"asker": "x", **GOOD}, "a template is missing for answerer"),
        ({**GOOD, "defendr": "x"}, "no game has the role 'defendr'; did you mean 'defender'"),
        ({"attackers": "x", "defender": "x"}, "no game has the role 'attackers'; did you mean 'attacker'"),
        ({}, "system holds no role"),
        ([["attacker", "x"], ["defender", "x"]], "an object is needed"),
        ("x", "an object is needed"),
        ({**GOOD, "attacker": 7}, "the template of attacker must be a text, got 7"),
        ({**GOOD, "defender": ["x"]}, r"the template of defender must be a text, got \['x'\]"),
        ({**GOOD, "defender": None}, "the template of defender must be a text, got None"),
        ({**GOOD, "attacker": "a\0"}, r"the template of attacker holds U\+0000"),
        ({**GOOD, "attacker": "a\u200b"}, r"the template of attacker holds U\+200B \(ZERO WIDTH SPACE\)"),
        ({**GOOD, "attacker": "\ud800"}, r"the template of attacker holds U\+D800"),
        ({**GOOD, "defender": "{word}"}, r"the template of defender holds '\{word\}'; it may hold \{max_turns\}, nothing more"),
        *(
            ({**GOOD, "attacker": field}, r"the template of attacker (holds|is none)")
            for field in (
                "{word.foo}",
                "{word[0]}",
                "{word!r}",
                "{word:>9}",
                "{word:{max_turns}}",
                "{}",
                "{0}",
                "{ word }",
                "{wrod}",
                "{",
                "}",
            )
        ),
    ],
)
def test_what_is_wrong_with_a_template_is_said_before_a_game_begins(tmp_path: Path, system: Any, message: str):
    path = prompts_file(tmp_path, {"system": system, "opening": "x"})
    for load in (load_prompts, lambda path: TabooEnv(prompts=path)):
        with pytest.raises(ValueError, match=f"prompts.json: cannot read prompts .{message}"):
            load(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"system": GOOD}, "the opening must be a text, got None"),
        ({"system": GOOD, "opening": 5}, "the opening must be a text, got 5"),
        ({"system": GOOD, "opening": "\x1b[2J"}, r"the opening holds U\+001B"),
        ([1], "an object is needed"),
        (b"{", "not JSON"),
        (b"[" * 5000, "nested too deeply"),
        (b"\xff", "no UTF-8"),
        (b" " * 2_000_000, "too much to be read whole"),
    ],
)
def test_what_are_no_prompts_is_said(tmp_path: Path, data: Any, message: str):
    with pytest.raises(ValueError, match=message):
        load_prompts(prompts_file(tmp_path, data))


@pytest.mark.parametrize("name", ["fulll", "x" * 5000, "a\0b"])
def test_names_of_no_prompts_are_said(name: str):
    with pytest.raises(ValueError, match=r"unknown prompts .* neither a file nor one of full, brief$"):
        load_prompts(name)


def test_prompts_are_for_the_game_that_is_played(tmp_path: Path):
    questions = prompts_file(tmp_path, asdict(TWENTY_QUESTIONS))
    assert load_prompts(questions, ("asker", "answerer")) == TWENTY_QUESTIONS
    with pytest.raises(ValueError, match="a template is missing for attacker and defender"):
        TabooEnv(prompts=questions)


def test_a_game_of_ones_own_has_its_own_roles_and_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Renamed(AdversarialTaboo):
        roles = ("sayer", "guesser")

        def start(self, task: Task) -> Any:
            return self

        def observe(self, role: str) -> Any:
            return AdversarialTaboo().start(Task("t", "lemon", "t", 0)).observe("attacker" if role == "sayer" else "defender")

    spec = GameSpec("Renamed", Renamed, (Task("t", "lemon", "t", 0),))
    monkeypatch.setattr("sparring.envs.games.prompts.GAMES", {"Renamed": spec})
    system = {"sayer": "{word}", "guesser": "{max_turns}"}
    assert load_prompts(prompts_file(tmp_path, {"system": system, "opening": ""}), Renamed.roles).system == system
    with pytest.raises(ValueError, match=r"the template of guesser holds '\{word\}'"):
        load_prompts(prompts_file(tmp_path, {"system": {**system, "guesser": "{word}"}, "opening": ""}))
