"""Tic-tac-toe: what is a move, and what a player is shown."""

import pytest

from sparring.envs.core import HOST, Task, Utterance, make_game, replay
from sparring.envs.games.tictactoe import TicTacToe, named_square

TASK = Task("t", "", "", 0)


@pytest.mark.parametrize(
    ("text", "square"),
    [("5", 5), ("I take square 7.", 7), ("0", None), ("10", None), ("1 or 2", None), ("3.3", None), ("the middle", None), ("", None)],
)
def test_a_move_names_one_square(text: str, square: int | None):
    assert named_square(text) == square


def test_a_player_is_shown_the_position_alone_and_at_its_turn():
    state = replay(TicTacToe(), TASK, ["5", "1", "9"])
    assert state.observe("o").utterances == (Utterance(HOST, "x: 5 9. o: 1. Free: 2 3 4 6 7 8."),)
    assert state.observe("x").utterances == ()
    assert state.moves() == ("2", "3", "4", "6", "7", "8")
    assert state.observe("o") == replay(TicTacToe(), TASK, ["9", "1", "5"]).observe("o"), "however it came about"


def test_positions_are_equal_whatever_came_before():
    one, other = replay(TicTacToe(), TASK, ["5", "1", "9"]), replay(TicTacToe(), TASK, ["9", "1", "5"])
    assert one.position == other.position and one != other


@pytest.mark.parametrize("bad", [{"max_characters": 0}, {"max_characters": 2.0}])
def test_settings_without_sense_are_refused(bad):
    with pytest.raises(ValueError, match="at least 1"):
        make_game("TicTacToe", **bad)


def test_roles_are_x_and_o():
    with pytest.raises(ValueError, match="the roles are x, o"):
        TicTacToe().start(TASK).observe("attacker")
