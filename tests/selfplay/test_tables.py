"""Tables on a terminal: everything fits into 80 columns, uncut."""

import io

from rich.console import Console

from sparring.selfplay.tables import evaluation_table, rate, tournament_table


def shown(table: object) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False, markup=False)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_rate_stands_with_its_interval_and_nothing_counted_is_a_dash():
    assert rate({"win_rate": 0.5, "low": 0.4021, "high": 0.5979}) == ".500 .40-.60"
    assert rate({"win_rate": 1.0, "low": 0.963, "high": 1.0}) == "1.000 .96-1.00"
    assert rate({"win_rate": None}) == rate(None) == "-"


def test_the_longest_tasks_and_names_are_shown_whole():
    task = "heldout-formats/choose_two_facts"
    score = {task: {"n": 2000, "score": 0.5, "baseline": 0.361}}
    difference = {task: {"mean": -0.0251, "low": -0.06, "high": 0.02}}
    found = {"before": score, "after": score, "difference": difference, "control_difference": difference}
    text = shown(evaluation_table("everyday", found))
    assert task in text
    assert ".361" in text
    assert text.count("-.025 ±.040") == 2
    assert "…" not in text
    entry = {"player": "mini@imitation", "seat": "attacker", "opponent": "runs/quickstart@latest", "wins": 100, "losses": 99, "ties": 1}
    text = shown(tournament_table("pairs", [{**entry, "win_rate": 0.5, "low": 0.43, "high": 0.57}]))
    assert "runs/quickstart@latest" in text
    assert ".500 .43-.57" in text
    assert "…" not in text
