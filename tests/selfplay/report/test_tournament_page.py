"""The page of a tournament shows what its results hold, as numbers that can be checked, and nothing as markup."""

import json
import re
from pathlib import Path

import pytest
from game_lines import WIN, line, write_lines

from sparring.selfplay.evaluation.game_results import result_of_record
from sparring.selfplay.evaluation.standings import standings
from sparring.selfplay.report.report import write_report
from sparring.selfplay.report.tournament_page import cross_table, ending_rows, ladder_intervals, tournament_page

ROLES = ("attacker", "defender")
ABOUT = {
    "game": {"name": "AdversarialTaboo", "version": 1, "config": {}}, "judge": "abc", "players": ["a", "<b>b"], "planned": 8,
    "options": {"games": 4, "words": None, "seed": 3, "temperature": 0.5}, "words": {"count": 4},
    "provenance": {"commit": "0123456789abcdef"},
}  # fmt: skip


def lines() -> list[dict]:
    """Two players, four games in each pair of roles: a attacks and wins 3 of 4, b attacks and wins 1 of 4."""
    made = []
    for number, (one, other, wins) in enumerate((("a", "<b>b", 3), ("<b>b", "a", 1))):
        for n in range(4):
            winner, reason = ("attacker", "uttered") if n < wins else ("defender", "declared_right")
            made.append(line(f"{number}/{n}", "Yellow.", WIN, word=f"word{n}", winner=winner, reason=reason, agents=(one, other)))
    return made


@pytest.fixture
def results() -> dict:
    found = standings([result_of_record(one, ROLES) for one in lines()], ROLES, {"a": 2.5})
    return json.loads(json.dumps({"tournament": ABOUT, **found}))


def test_the_cross_table_holds_the_first_roles_share(results: dict):
    cross = cross_table(results["pairs"], None)
    assert cross is not None and cross["roles"] == ["attacker", "defender"]
    found = {one: [cell and (cell["wins"], cell["losses"], cell["win_rate"]) for cell in cells] for one, cells in cross["rows"]}
    order = cross["players"]
    assert found["a"][order.index("<b>b")] == (3, 1, 0.75) and found["<b>b"][order.index("a")] == (1, 3, 0.25)
    assert found["a"][order.index("a")] is None
    assert cross_table([], None) is None


def test_endings_are_shares_of_a_players_games(results: dict):
    found = ending_rows(results["players"])
    assert found["reasons"] == ["declared_right", "uttered"]
    assert {(player, role): shares for player, role, shares in found["rows"]}["a", "attacker"] == [0.25, 0.75]


def test_strengths_are_drawn_on_one_scale():
    strengths = [{"value": 100.0, "low": 0.0, "high": 200.0}, None, {"value": -50.0, "low": -100.0, "high": 0.0}]
    drawn = ladder_intervals({"ratings": {"all": {"ladder": [{"strength": one} for one in strengths]}}})
    assert drawn[1] == "" and 'd="M60.0,7H116.0"' in drawn[0] and 'cx="88.0"' in drawn[0] and 'd="M32.0,7H60.0"' in drawn[2]


def test_the_page_shows_all_of_it_and_no_name_as_markup(tmp_path: Path, results: dict):
    (tmp_path / "results.json").write_text(json.dumps(results))
    write_lines(tmp_path / "games.jsonl", [*lines(), "{"])
    page = write_report(tmp_path).read_text()
    text = " ".join(re.sub(r"<[^>]*>", " ", page.partition("<script")[0]).split())
    for expected in ("8 games of 8", "Ladder", "0.75 3&ndash;0&ndash;1", "declared_right", "Head to head", "seed 3", "0123456789", "2.5 s"):
        assert expected in text
    assert "All 8 games, unedited" in text and "1 line of game files could not be read" in text
    assert "<b>" not in page and "&lt;b&gt;b" in page


def test_results_may_be_passed_on_without_games(tmp_path: Path, results: dict):
    (tmp_path / "results.json").write_text(json.dumps(results))
    page = write_report(tmp_path).read_text()
    assert "Ladder" in page and "<script" not in page


def test_what_a_file_does_not_hold_is_left_out_and_nonsense_is_named(tmp_path: Path):
    assert tournament_page({"players": [], "pairs": [], "mistakes": [], "cost": []})["ladder"] is None
    for nonsense in ({"players": [1]}, {"cost": None}, {"ratings": {}}):
        (tmp_path / "results.json").write_text(json.dumps(nonsense))
        with pytest.raises(ValueError, match="is not what a tournament writes"):
            write_report(tmp_path)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(ValueError, match=r"results\.json cannot be read"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
