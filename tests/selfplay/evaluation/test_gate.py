"""Whether a start can win: counted by hand."""

import pytest

from sparring.selfplay.evaluation.gate import BROKEN, WON, NoStart, can_win, require_can_win, sentence, share_of


def record(**reasons: int) -> dict[str, object]:
    return {"games": sum(reasons.values()), "reasons": reasons}


def test_wins_by_skill_are_right_guesses_and_uttered_words():
    counted = record(declared_right=10, uttered=9, declared_wrong=51, foul=5, silent=3, overlong=2, turn_limit=48)
    assert share_of(counted, WON) == 19 / 128
    assert share_of(counted, BROKEN) == 10 / 128
    assert share_of(record(), WON) is None


@pytest.mark.parametrize(
    ("reasons", "wins"),
    [
        ({"declared_right": 15, "turn_limit": 85}, True),
        ({"uttered": 15, "foul": 15, "turn_limit": 70}, True),
        ({"declared_right": 14, "turn_limit": 86}, False),
        ({"declared_right": 50, "foul": 10, "overlong": 6, "turn_limit": 34}, False),
        ({"declared_wrong": 100}, False),
        ({}, False),
    ],
)
def test_a_start_can_win_from_fifteen_of_a_hundred_on(reasons: dict[str, int], wins: bool):
    assert can_win(record(**reasons), 0.15) == wins


def test_a_start_that_cannot_win_is_refused_with_figures_and_remedy():
    require_can_win(record(declared_right=64, uttered=64), 0.15, 96, "runs/x@0")
    with pytest.raises(NoStart) as refused:
        require_can_win(record(declared_right=4, foul=66, turn_limit=58), 0.15, 96, "runs/x@0")
    said = str(refused.value)
    assert "of 128 games against itself 3.1% end by a right guess or an uttered word and 51.6% by a foul" in said
    assert "--sft.steps 192" in said and "--model runs/x@0 --sft.steps 0 --alarms.limits start=none" in said
    assert "\n" not in said
    with pytest.raises(NoStart, match=r"--sft.steps 100"):
        require_can_win(record(silent=128), 0.15, 0, "runs/x@0")


def test_a_sentence_says_how_many_games_there_were():
    assert sentence(record(uttered=1, turn_limit=3)).startswith("of 4 games against itself 25.0% end by")
