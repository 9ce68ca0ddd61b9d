"""Tables on a terminal: everything fits into 80 columns, uncut."""

import io
from typing import Any

import pytest
from rich.console import Console

from sparring.selfplay.cli.common import console
from sparring.selfplay.report.tables import difference, evaluation_table, of_gibberish, plain_table, rate
from sparring.selfplay.report.tournament import sheets


def shown(table: object) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False, markup=False)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def pairs_table(entry: dict[str, Any]) -> object:
    """Games between two players, as of a tournament."""
    results = {"pairs": [entry], "mistakes": [], "cost": []}
    (sheet,) = sheets(results)
    return plain_table(sheet.title, sheet.columns, sheet.rows, gap=1)


def test_a_rate_stands_with_its_interval_and_nothing_counted_is_a_dash():
    assert rate({"win_rate": 0.5, "low": 0.4021, "high": 0.5979}) == "0.500 0.40-0.60"
    assert rate({"win_rate": 1.0, "low": 0.963, "high": 1.0}) == "1.000 0.96-1.00"
    assert rate({"win_rate": None}) == rate(None) == "-"


def test_the_longest_tasks_and_names_are_shown_whole():
    task = "heldout-formats/choose_two_facts"
    score = {task: {"n": 2000, "score": 0.5, "baseline": 0.361}}
    difference = {task: {"mean": -0.0251, "low": -0.06, "high": 0.02}}
    found = {"before": score, "after": score, "difference": difference, "control_difference": difference}
    text = shown(evaluation_table("everyday", found))
    assert task in text
    assert "0.361" in text
    assert text.count("-0.025 ± 0.040") == 2
    assert "…" not in text
    entry = {"player": "mini@imitation", "role": "attacker", "opponent": "runs/quickstart@latest", "wins": 100, "losses": 99, "ties": 1}
    text = shown(pairs_table({**entry, "win_rate": 0.5, "low": 0.43, "high": 0.57}))
    assert "runs/quickstart@latest" in text
    assert "0.500 0.43-0.57" in text
    assert "…" not in text


def test_a_difference_has_an_interval_only_where_answers_differ():
    assert difference({"mean": 0.0, "low": 0.0, "high": 0.0}) == "no difference"
    assert difference({"mean": 1.0, "low": 1.0, "high": 1.0}) == "+1.000"
    assert difference({"mean": 0.0, "low": -0.02, "high": 0.02}) == "+0.000 ± 0.020"


def test_the_columns_of_a_comparison_are_the_models_and_what_the_interval_means_is_said():
    score = {"facts/recall": {"n": 200, "score": 0.5, "baseline": 0.25}}
    paired = {"facts/recall": {"mean": 0.1, "low": 0.0, "high": 0.2}}
    text = " ".join(shown(evaluation_table("everyday", {"before": score, "after": score, "difference": paired}, ("x@0", "x@8"))).split())
    assert "task guess x@0 x@8 difference" in text and "1 tasks, 200 questions each" in text
    assert "half of a 95 % interval over the questions of a task" in text and "with 1 tasks tested" in text
    text = shown(evaluation_table("everyday", {"before": score}, ("mini",)))
    assert text.split("\n")[-3].split() == ["task", "guess", "mini"] and "±" not in text


def test_names_too_long_for_the_terminal_are_folded_and_a_pipe_gets_them_whole(capsys: pytest.CaptureFixture[str]):
    name = "runs/" + "x" * 90 + "@latest"
    entry = {"player": name, "role": "attacker", "opponent": name, "wins": 1, "losses": 1, "ties": 0, "win_rate": 0.5, "low": 0, "high": 1}
    table = pairs_table(entry)
    assert shown(table).replace("\n", "").count("x") == 180 and "…" not in shown(table)
    console().print(table)
    assert capsys.readouterr().out.count(name) == 2


def test_the_success_of_gibberish_is_explained_by_its_own_numbers():
    entry = {"player": "random", "role": "attacker", "games": 50, "reasons": {"declared_wrong": 46, "turn_limit": 4}}
    found = of_gibberish([{**entry, "player": "mini"}, entry])
    assert found is not None and "92% of these games ended because the defender declared a wrong word" in found
    assert of_gibberish([{**entry, "player": "mini"}, {**entry, "role": "defender"}, {**entry, "reasons": {}}]) is None
