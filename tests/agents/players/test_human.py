"""A person at the terminal."""

import io
import os
import pty
import select
import subprocess
import sys
import time

import pytest

from sparring.agents.players.human import SILENT, Left, ask_line, human
from sparring.agents.players.simple import FunctionAgent
from sparring.agents.rollout import Episode, Match, play_all
from sparring.envs.core import Task
from sparring.envs.games.taboo import AdversarialTaboo


def play(role: str, lines: list[str], opponent: str) -> tuple[Episode, list[str], list[str]]:
    """A game about a lemon in which a person says these things and then ends the input: the game, what the person was told and asked."""
    shown: list[str] = []
    asked: list[str] = []
    left = iter(lines)

    def ask(prompt: str) -> str:
        asked.append(prompt)
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    other = FunctionAgent(lambda observation, rng: opponent)
    game = AdversarialTaboo(max_turns=3)
    agents = {one: human(ask, shown.append) if one == role else other for one in game.roles}
    (episode,) = play_all([Match("m", game, Task("m", "lemon", "lemon", 0), agents, 0)])
    return episode, shown, asked


def test_an_attacker_is_told_the_rules_and_the_word_once_and_then_what_is_said():
    episode, shown, asked = play("attacker", ["It is sour.", "It is yellow."], "Tell me more.")
    assert "You are the attacker. Your secret word is lemon." in shown[0]
    assert shown[1:] == ["defender: Tell me more."] * 2
    assert asked == ["attacker (you): "] * 3
    assert (episode.outcome.reason, episode.outcome.winner) == ("silent", "defender"), "the end of the input is silence"
    assert [u.text for u in episode.state.utterances if u.role == "attacker"] == ["It is sour.", "It is yellow.", ""]


def test_a_defender_is_not_told_the_word_and_what_could_steer_a_terminal_is_not_printed():
    episode, shown, _ = play("defender", ["Hm.", "I know the word! It is a lemon."], "Sour\x1b[2J!\nYellow.")
    assert "You are the defender." in shown[0]
    assert shown[0].endswith("attacker: Sour\ufffd[2J!\n        Yellow.")
    assert "lemon" not in "".join(shown)
    assert (episode.outcome.reason, episode.outcome.winner) == ("declared_right", "defender")


def test_nothing_is_said_only_when_it_is_meant():
    episode, _, asked = play("attacker", ["", " \u200b ", "It is sour.", "", "It is yellow."], "Tell me more.")
    assert [u.text for u in episode.state.utterances if u.role == "attacker"] == [" \u200b "], "the second silence is taken as such"
    assert asked == ["attacker (you): ", SILENT]
    episode, _, asked = play("attacker", ["", "It is sour.", "It is yellow.", "It is round."], "Tell me more.")
    assert episode.outcome.reason == "turn_limit"
    assert asked == ["attacker (you): ", SILENT, "attacker (you): ", "attacker (you): "]


def test_a_person_can_ask_for_help_and_leave():
    episode, shown, asked = play("attacker", ["It is sour.", " /HELP", "It is yellow.", "It is round."], "Tell me more.")
    assert episode.outcome.reason == "turn_limit" and len(asked) == 4
    (help_text,) = [text for text in shown if "/quit or Ctrl-D leaves" in text]
    assert "Your secret word is lemon." in help_text and help_text.endswith("attacker: It is sour.\ndefender: Tell me more.")
    with pytest.raises(Left):
        play("attacker", ["It is sour.", "/quit"], "Tell me more.")


def test_the_end_of_the_input_leaves_at_a_terminal_alone(monkeypatch: pytest.MonkeyPatch):
    for at_terminal, raised in ((True, Left), (False, EOFError)):
        stdin = io.StringIO("")
        stdin.isatty = lambda at_terminal=at_terminal: at_terminal  # type: ignore[method-assign]
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(raised):
            ask_line("attacker (you): ")


class Terminal:
    """A pseudo-terminal with a command in it."""

    def __init__(self, *arguments: str) -> None:
        self.screen, inside = pty.openpty()
        command = [sys.executable, "-m", "sparring.selfplay.cli.main", *arguments]
        self.process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env={**os.environ, "TERM": "xterm"})
        os.close(inside)
        self.shown = ""

    def until(self, text: str, seconds: float = 120.0) -> str:
        """What is shown until a text is, which is then taken as read."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert select.select([self.screen], [], [], max(0.0, end - time.monotonic()))[0], f"no {text!r} in {self.shown!r}"
            try:
                self.shown += os.read(self.screen, 4096).decode()
            except OSError:  # the other side has ended
                raise AssertionError(f"no {text!r} in {self.shown!r}") from None
        before, _, self.shown = self.shown.partition(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())


def test_a_game_at_a_terminal():
    """Arrow keys move and bring lines back, an empty line is asked about, /quit leaves without an error."""
    terminal = Terminal("play", "--role", "attacker", "--opponent", "random", "--games", "2", "--game-options", "max_turns=4")
    terminal.until("/quit leaves it.")
    terminal.until("attacker (you): ")
    terminal.type("t is sour.\x1b[H\x1b[D\x1b[AI\n")  # home, left and up before what is missing
    assert "^[[" not in terminal.until("defender: ")
    terminal.until("attacker (you): ")
    terminal.type("\n")
    terminal.until("or type something: ")
    terminal.type("\x1b[A\n")  # the line before
    assert "It is sour." in terminal.until("defender: ")
    terminal.until("attacker (you): ")
    terminal.type("/quit\n")
    terminal.until("0 games: attacker won 0, defender won 0, ties 0")
    assert terminal.process.wait(60) == 0
    os.close(terminal.screen)
