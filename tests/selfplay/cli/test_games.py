"""sparring games: what is printed, listed and written of stored games."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import sparring
from game_lines import line, write_lines
from rich.console import Console

from sparring.selfplay.cli.games import show_game
from sparring.selfplay.cli.main import main


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two rounds about two words."""
    (tmp_path / "config.yaml").write_text("")
    for number in (1, 2):
        lines = [
            line(f"{number}/{n}", f"Thing {n}.", "A lemon?", word=("lemon", "pear")[n % 2], winner=("attacker", "defender")[n % 2])
            for n in range(6)
        ]
        write_lines(tmp_path / "rounds" / f"{number:03d}" / "games.jsonl.gz", lines)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    assert main(["games", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def ids(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    return [json.loads(one)["id"] for one in printed(capsys, *arguments, "--json")]


def test_three_games_of_the_last_round_are_shown_unless_more_are_wanted(run: Path, capsys: pytest.CaptureFixture[str]):
    assert ids(capsys, run) == ["2/0", "2/1", "2/2"]
    assert ids(capsys, run, "--round", "1", "--first", "4", "--count", "9") == ["1/4", "1/5"]
    assert ids(capsys, run, "--round", "all", "--count", "99") == [f"{number}/{n}" for number in (1, 2) for n in range(6)]


def test_filters_leave_games_out(run: Path, capsys: pytest.CaptureFixture[str]):
    assert ids(capsys, run, "--round", "all", "--word", "pear", "--count", "4") == ["1/1", "1/3", "1/5", "2/1"]
    assert ids(capsys, run, "--result", "won", "--role", "defender", "--text", "LEMON") == ["2/1", "2/3", "2/5"]
    assert ids(capsys, run, "--id", "2/4") == ["2/4"]


def test_a_list_has_a_line_for_each_game(run: Path, capsys: pytest.CaptureFixture[str]):
    found = printed(capsys, run, "--list")
    assert len(found) == 6
    assert found[1].split() == "round 2 2/1 pear 2 utterances mini uttered, the defender wins".split()


def test_a_file_and_a_folder_are_read_as_a_run_is(run: Path, capsys: pytest.CaptureFixture[str]):
    assert len(printed(capsys, run / "rounds" / "001" / "games.jsonl.gz", "--list")) == 6
    assert len(printed(capsys, run / "rounds" / "001", "--list")) == 6


def test_lines_that_cannot_be_read_are_named_and_the_others_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write_lines(tmp_path / "x.jsonl", [line("0"), "\x1b[2J{", line("1")])
    assert main(["games", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "x.jsonl, line 2: not a game" in err and "1 line of game files could not be read and is left out" in err and "\x1b" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such run folder, tournament folder or file of games"),
        (["{run}", "--round", "3"], "has no games of round 3; it has rounds 1 to 2"),
        (["{run}/rounds/001/games.jsonl.gz", "--round", "1"], "it is no run; leave out --round"),
        (["{run}", "--word", "plum"], "no game fits these options"),
        (["{run}", "--first", "-1"], "--first must be at least 0"),
        (["{run}", "--count", "0"], "--count at least 1"),
        (["{run}", "--out", "{run}/config.yaml"], "exists; choose a new file"),
        (["{run}", "--out", "{run}/x", "--format", "preference", "--result", "won"], "leave out --result"),
        (["{run}", "--out", "{run}/x", "--word", "plum"], "no game fits these options, so there is nothing to write"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert main(["games", *(one.format(run=run) for one in arguments)]) == 2
    assert message in capsys.readouterr().err
    assert not (run / "x").exists()


def test_games_are_written_as_they_are_stored_and_read_again(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "pears.jsonl.gz"
    found = printed(capsys, run, "--round", "all", "--word", "pear", "--out", out, "--json")
    assert json.loads(found[0]) == {"file": str(out), "format": "games", "entries": 6, "games": 6, "unreadable": 0}
    assert printed(capsys, out, "--json", "--count", "9") == printed(
        capsys, run, "--round", "all", "--word", "pear", "--json", "--count", "9"
    )


def test_what_the_winners_said_is_written_as_conversations(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "talk.jsonl"
    assert printed(capsys, run, "--result", "won", "--out", out, "--format", "messages") == [
        f"wrote {out}: 6 entries (messages) of 6 games"
    ]
    said = [[m["content"] for m in json.loads(one)["messages"] if m["role"] == "assistant"] for one in out.read_text().splitlines()]
    assert said == [["Thing 0."], ["A lemon?"], ["Thing 2."], ["A lemon?"], ["Thing 4."], ["A lemon?"]]


def test_games_are_shown_inset(few_games: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["games", str(few_games), "--count", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "game 0 of round 1",
        "secret word: lemon",
        "  attacker: Hm.",
        "          attacker: Hm.\ufffd[2J",
        "  defender: I know the word! It is a pear.",
        "  -- declared_wrong, the attacker wins: [I know the word! It is a pear.]",
        "",
    ]


def test_games_are_printed_as_they_were_played(run: Path):
    done = sparring("games", run, "--count", "2")
    assert done.returncode == 0
    assert done.stdout.count("secret word:") == 2
    lines = sparring("games", run, "--json").stdout.splitlines()
    assert [json.loads(line)["schema"] for line in lines] == [2, 2, 2]


def test_what_decided_a_game_is_highlighted():
    console = Console(force_terminal=True, color_system="standard", width=200, record=True, file=io.StringIO())
    said = [{"role": "attacker", "text": "Tea\x1b[2J?"}, {"role": "defender", "text": "I like a lemon in it."}]
    evidence = {"turn": 1, "start": 9, "end": 14, "matched": "lemon"}
    outcome = {"winner": "attacker", "reason": "uttered", "evidence": evidence}
    show_game(console, {"task": {"secret": "lemon"}, "utterances": said, "outcome": outcome})
    written = console.export_text(styles=True)
    assert "I like a \x1b[1;7mlemon\x1b[0m in it." in written
    assert "uttered, the attacker wins: [lemon]" in written
    assert "\x1b[2J" not in written and "Tea\ufffd[2J?" in written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["games", "nowhere"], "no such run folder"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, refused: Callable[[list[str], str], None]):
    refused(arguments, message)
