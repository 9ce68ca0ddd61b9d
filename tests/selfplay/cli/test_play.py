"""sparring play."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import UNKNOWN

from sparring.selfplay.cli.main import main


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """What a person sees who plays a game and types some lines."""

    def play(text: str, *arguments: str) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert main(["play", "--games", "1", *arguments]) == 0
        return capsys.readouterr().out

    return play


def test_a_person_can_play_either_role(typed):
    shown = typed("It is sour.\n", "--role", "attacker", "--opponent", "silent")
    assert "You are the attacker." in shown
    assert "  attacker: It is sour." in shown
    assert "silent, the attacker wins" in shown
    shown = typed("I know the word! It is a zebra.\n", "--opponent", "scripted:hinter")
    assert "You are the defender." in shown
    assert "declared_wrong, the attacker wins: [I know the word! It is a zebra.]" in shown


def test_a_person_can_play_the_other_game(typed):
    shown = typed("Hm.\n", "--game", "TwentyQuestions", "--role", "answerer", "--opponent", "random")
    assert "You are the answerer." in shown
    assert "foul, the asker wins: [Hm.]" in shown


def test_a_person_plays(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Is it a fruit?\nI know the word! It is a zebra.\n"))
    assert main(["play", "--role", "defender", "--opponent", "scripted", "--games", "1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Play the game of Adversarial Taboo.")
    assert told.count("defender (you): ") == 2
    assert "-- declared_wrong, the attacker wins: [I know the word! It is a zebra.]" in told
    assert told.endswith("attacker won 1, defender won 0, ties 0\n")


def test_json_stays_json_where_a_person_plays(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("/help\nIs it a fruit?\nI know the word! It is a zebra.\n"))
    assert main(["play", "--role", "defender", "--opponent", "scripted", "--games", "1", "--json"]) == 0
    captured = capsys.readouterr()
    assert [game["outcome"]["reason"] for game in json.loads(captured.out)["games"]] == ["declared_wrong"]
    for shown in ("Play the game of Adversarial Taboo.", "defender (you): ", "/quit or Ctrl-D leaves", "-- declared_wrong"):
        assert shown in captured.err


def test_a_person_who_leaves_has_played_the_games_that_ended(typed):
    said = "I know the word! It is a zebra.\n/quit\n"
    shown = typed(said, "--role", "defender", "--opponent", "scripted:hinter", "--games", "3")
    assert shown.endswith("1 game: attacker won 1, defender won 0, ties 0\n")


def test_games_are_printed_when_they_have_ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Every game that is shown is on the screen before the last one has ended, and rates are said at the end."""
    shown: list[int] = []
    monkeypatch.setattr("sparring.selfplay.evaluation.win_rates.Tally.add", lambda self, make_episode: shown.append(screen()))

    def screen() -> int:
        shown_so_far.append(capsys.readouterr())
        return sum(part.out.count("secret word:") for part in shown_so_far)

    shown_so_far: list = []
    assert main(["play", "--player", "random", "--opponent", "silent", "--role", "attacker", "--games", "4", "--show", "3"]) == 0
    assert shown[::2] == [1, 2, 3, 3]
    said = "".join(part.err for part in [*shown_so_far, capsys.readouterr()])
    assert said.startswith("play\n") and "play: 4 games, " in said and "games/s" in said


def test_scripted_players_play_about_any_words_that_they_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "some.txt").write_text("piano\nlemon\n")
    for words in (str(tmp_path / "some.txt"), "everyday@heldout"):
        assert main(["play", "--player", "scripted", "--opponent", "scripted", "--games", "3", "--words", words]) == 0
        assert "3 games: attacker won" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["play", "--player", "silent", "--device", "cuda:99"], "device 'cuda:99' was given, but"),
        (["play", "--game-options", "turns=3"], "AdversarialTaboo has no option 'turns'; did you mean 'max_turns'?"),
        (["play", "--opponent", "nobody"], "unknown agent 'nobody'"),
        (["play", "--opponent", "scripted", "--words", "nonsense"], "unknown word list"),
        (["play", "--opponent", "scripted", "--games", "0"], "--games must be at least 1"),
        (["play", "--opponent", "scripted", "--show", "-1"], "--show at least 0"),
        (
            ["play", "--opponent", "scripted", "--role", "asker"],
            "unknown role 'asker'; the roles of AdversarialTaboo are attacker, defender",
        ),
        (["play", "--opponent", "silent", "--game", "Chess"], "unknown game 'Chess'"),
        (["play", "--opponent", "silent", "--game", "textarena:TicTacToe"], "'TicTacToe'"),
        (
            ["play", "--opponent", "silent", "--game", "textarena:TicTacToe-v0", "--words", "common"],
            "has no secret words; leave out --words",
        ),
        (["play", "--opponent", "scripted", "--game", "TwentyQuestions"], "know the roles attacker and defender, not 'answerer'"),
        (["play", "--opponent", "silent", "--game", "TwentyQuestions", "--words", "common"], "take words from the list everyday"),
        (["play", "--player", "silent", "--temperature", "nan"], "temperature must be a finite number, got nan"),
        (["play", "--player", "silent", "--temperature", "-1"], "temperature must be at least 0, got -1"),
        (["play", "--opponent", "silent", "--top-p", "0"], "top_p must be above 0 and at most 1, got 0"),
        (["play", "--opponent", "silent", "--max-new-tokens", "0"], "max_new_tokens must be at least 1, got 0"),
        (["play", "--player", "scripted", "--opponent", "random", "--role", "attacker", "--words", "common"], UNKNOWN),
        (["play", "--player", "random", "--opponent", "scripted", "--role", "attacker", "--words", "common"], UNKNOWN),
        (["play", "--player", "mini", "--opponent", "scripted:hinter", "--words", "WORDS"], "not 'zeppelin': take words from"),
    ],
)
def test_bad_input_is_one_sentence_and_status_two(arguments: list[str], message: str, refused: Callable[[list[str], str], None]):
    refused(arguments, message)
