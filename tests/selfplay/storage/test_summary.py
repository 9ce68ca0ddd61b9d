"""What a run came to, as Python sees it."""

from pathlib import Path

import pytest

from sparring.selfplay.storage.summary import Cell, Summary

CELL = Cell("initial", "defender", "all", 8, 2, 5, 1, 0, 0.25, 0.07, 0.59, {"uttered": 8}, None, None, 2.5)


def summary(*entries: dict, control: dict | None = None) -> Summary:
    return Summary(Path("run"), {"win_rates": list(entries), "control": control, "rounds": [{"round": 1, "kl": 0.5}], "notes": ["x"]})


def test_cells_are_found_by_round_opponent_role_and_words():
    heldout = {**CELL.record(2), "words": "heldout", "wins": 3}
    found = summary(CELL.record(0), CELL.record(2), heldout)
    assert found.cell(0, "initial", "defender") == CELL == found.cells(0)[0]
    assert found.cell(2, "initial", "defender", "heldout").wins == 3
    assert [cell.words for cell in found.cells(2)] == ["all", "heldout"] and found.cells(1) == []
    with pytest.raises(KeyError, match="round 2 against scripted as defender on all words was not measured"):
        found.cell(2, "scripted", "defender")


def test_a_summary_has_its_control_rounds_and_notes():
    assert summary().control == [] and summary(control={"arm": "expert", "win_rates": [CELL.record(2)]}).control == [CELL]
    assert summary().rounds == [{"round": 1, "kl": 0.5}] and summary().notes == ["x"]
