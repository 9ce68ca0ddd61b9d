"""Kuhn poker: deals, moves, and who knows which card."""

from collections import Counter

import pytest

from sparring.envs.core import Task, make_game
from sparring.envs.games.kuhn_poker import DEALS, KuhnPoker, named_move


def test_all_six_deals_are_drawn_by_the_seed():
    drawn = Counter(KuhnPoker().start(Task(f"{seed}", "", "", seed)).deal for seed in range(600))
    assert set(drawn) == set(DEALS) and min(drawn.values()) > 60
    assert [state.deal for _, state in KuhnPoker().starts()] == list(DEALS)


def test_a_player_knows_its_own_card_alone():
    state = next(state for _, state in KuhnPoker().starts() if state.deal == ("jack", "king"))
    assert state.observe("first").private == {"card": "jack"} and state.observe("second").private == {"card": "king"}


@pytest.mark.parametrize(
    ("text", "move"),
    [("I bet!", "bet"), ("Check, check.", "check"), ("call or fold", None), ("alphabet", None), ("", None), ("FOLD", "fold")],
)
def test_a_text_names_one_move(text: str, move: str | None):
    assert named_move(text) == move


def test_settings_without_sense_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        make_game("KuhnPoker", max_characters=0)
