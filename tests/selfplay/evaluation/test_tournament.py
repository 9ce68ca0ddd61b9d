"""Pairs in turns, seconds of models, and standings of games made by hand."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparring.envs.games.taboo import AdversarialTaboo
from sparring.selfplay.evaluation.game_results import GameResult
from sparring.selfplay.evaluation.standings import standings
from sparring.selfplay.evaluation.tournament import FIRST, SECOND, Meter, Plan, TimedBackend, turns

ROLES = ("attacker", "defender")


def result(
    one: str, other: str, task: int, winner: int | None, reason: str = "declared_right", tokens: tuple[int, int] = (3, 4)
) -> GameResult:
    return GameResult(f"{one}-{other}/{task}", (one, other), f"w{task}", task, winner, reason, (2, 1), tokens)


def test_pairs_of_who_joins_come_last_and_games_keep_their_names():
    plan = Plan(AdversarialTaboo(), ("a", "b"), ("lemon", "piano"), 3, 0)
    longer = Plan(AdversarialTaboo(), ("a", "b", "c"), ("lemon", "piano"), 3, 0)
    assert plan.pairs == [("a", "b"), ("b", "a")] == longer.pairs[:2] and len(longer.pairs) == 6
    games = {(m.id, m.task.secret, m.task.seed, m.seed, m.tags[FIRST], m.tags[SECOND]) for pair in plan.pairs for m in plan.matches(*pair)}
    assert len(games) == 6
    assert games < {
        (m.id, m.task.secret, m.task.seed, m.seed, m.tags[FIRST], m.tags[SECOND]) for pair in longer.pairs for m in longer.matches(*pair)
    }
    one, other = (list(plan.matches(*pair)) for pair in plan.pairs)
    assert [(m.task.secret, m.task.seed, m.seed) for m in one] == [(m.task.secret, m.task.seed, m.seed) for m in other]


@pytest.mark.parametrize("at_once", [2, 3, 4, 5, 9])
def test_every_pair_has_one_turn_and_no_turn_needs_too_many_models(at_once: int):
    models = {**{f"m{n}": f"place{n}" for n in range(7)}, "twin": "place0", "silent": None, "random": None}
    pairs = [(one, other) for one in models for other in models if one != other]
    made = turns(pairs, models, at_once)
    assert sorted(pair for turn in made for pair in turn) == sorted(pairs)
    for turn in made:
        assert len({models[player] for pair in turn for player in pair} - {None}) <= at_once
    assert (len(made) == 1) == (at_once >= 7)


def test_seconds_of_a_model_are_shared_by_its_players_as_their_tokens_are():
    polled = SimpleNamespace(name="m", poll=lambda: [], submit=print, ready=True)
    one, other = (SimpleNamespace(model=polled) for _ in range(2))
    meter = Meter()
    meter.attach({"a": one, "b": other, "silent": SimpleNamespace()})
    assert one.model is other.model and isinstance(one.model, TimedBackend) and one.model.ready
    assert one.model.poll() == [] and one.model.seconds > 0
    one.model.seconds = 10.0
    assert meter.take() == {}, "until a game has ended nothing is known"
    meter.add(result("a", "b", 0, 0, tokens=(30, 10)))
    meter.add(result("a", "silent", 0, 0, tokens=(40, 0)))
    assert meter.take() == {"a": 8.75, "b": 1.25}
    assert meter.take() == {}


def test_standings_by_hand():
    games = [
        result("a", "b", 0, 0, "uttered"),
        result("a", "b", 1, 1, "foul"),
        result("a", "b", 2, None, "turn_limit"),
        result("b", "a", 0, 0, "declared_wrong"),
        result("b", "a", 1, 1, "silent"),
        result("b", "a", 2, None, "void"),
    ]
    found = standings(games, ROLES, {"a": 2.5})
    assert found == standings(games[::-1], ROLES, {"a": 2.5})
    assert (found["games"], found["void"]) == (5, 1)
    cells = {(c["player"], c["role"]): c for c in found["players"]}
    assert [cells["a", "attacker"][k] for k in ("games", "wins", "losses", "ties", "void")] == [3, 1, 1, 1, 0]
    assert (cells["a", "defender"]["wins"], cells["a", "defender"]["void"], cells["a", "defender"]["win_rate"]) == (1, 1, 0.5)
    assert len(found["pairs"]) == 4 and {c["opponent"] for c in found["pairs"] if c["player"] == "a"} == {"b"}
    mistakes = {(m["player"], m["role"]): (m["lost_by"], m["won_by"], m["void"]) for m in found["mistakes"]}
    assert mistakes["a", "attacker"] == ({"foul": 1}, {}, 0)
    assert mistakes["a", "defender"] == ({"declared_wrong": 1}, {"silent": 1}, 1)
    assert mistakes["b", "attacker"] == ({"silent": 1}, {"declared_wrong": 1}, 1)
    assert found["cost"] == [
        {"player": "a", "games": 6, "tokens": 3 * 3 + 3 * 4, "seconds": 2.5},
        {"player": "b", "games": 6, "tokens": 3 * 3 + 3 * 4, "seconds": None},
    ]
    assert [found["ratings"][name]["games"] for name in ("all", "without_rule_breaks", "without_blunders")] == [5, 3, 2]
    (compared,) = found["head_to_head"]
    # Word 0: each wins as the attacker. Word 1: each wins as the defender. Word 2: one game is void.
    assert (compared["pairs"], compared["difference"], found["neighbours"]) == (2, 0.0, [])


def test_the_page_names_every_field_of_the_results():
    page = (Path(__file__).parents[3] / "docs" / "tournaments.md").read_text(encoding="utf-8")
    table = page.partition("## results.json")[2].partition("## How")[0]
    rows = {tuple(re.findall(r"`(\w+)`", row.split("|")[1])): row for row in table.splitlines() if row.startswith("| `")}
    found = standings([result("a", "b", 0, 0), result("b", "a", 0, 0)], ROLES)
    assert {name for names in rows for name in names} == {"tournament", *found}
    (compared,), (first, *_) = found["head_to_head"], found["mistakes"]
    for name, fields in (("neighbours", compared), ("cycles", found["cycles"]), ("mistakes", first), ("cost", found["cost"][0])):
        (row,) = [row for names, row in rows.items() if name in names]
        assert set(re.findall(r"`(\w+)`", row.split("|")[2])) >= set(fields) - {"player", "role"}, name


def test_three_roles_are_counted_but_not_rated():
    games = [GameResult("x", ("a", "b", "c"), "w", 0, 2, "won", (1, 1, 1), (0, 0, 0))]
    found = standings(games, ("one", "two", "three"))
    assert "ratings" not in found and [c["wins"] for c in found["players"]] == [0, 0, 1]
