"""Strengths: known ones recovered, guarded where none is finite, the same in every order and with the roles swapped."""

import random
from dataclasses import replace

import numpy as np
import pytest
from statsmodels.miscmodels.ordinal_model import OrderedModel

from sparring.benchmarks.reliability.rating_coverage import ROLES, STRENGTHS, covered, simulated, true_strengths
from sparring.selfplay.evaluation.game_results import GameResult
from sparring.selfplay.evaluation.ratings import ELO, Rating, Ratings, rate


def games(*outcomes: tuple[str, str, str], reason: str = "played", words: int = 4) -> list[GameResult]:
    """One for each (attacker, defender, letters): w the attacker won, l it lost, t a tie, v a void game."""
    made = []
    for one, other, letters in outcomes:
        for number, letter in enumerate(letters):
            winner = {"w": 0, "l": 1}.get(letter)
            why = "void" if letter == "v" else reason
            made.append(GameResult(f"{one}-{other}/{number}", (one, other), f"w{number % words}", number, winner, why, (1, 1), (0, 0)))
    return made


def by_name(ratings: Ratings) -> dict[tuple[str, str], Rating]:
    return {(rating.player, rating.role): rating for rating in ratings.ladder}


EVEN = [(one, other, "wlwl") for one in "abc" for other in "abc" if one != other]
"""Three players who win half of their games."""


def test_known_strengths_are_recovered():
    found = rate(simulated(*STRENGTHS, 500, 85, seed=1), ROLES)
    true = true_strengths(*STRENGTHS)
    for who, rating in by_name(found).items():
        assert rating.strength is not None and rating.strength.low is not None
        error = (rating.strength.value - rating.strength.low) / 1.99
        assert abs(rating.strength.value - true[who]) < 4 * error < 60, who
    assert [r.player for r in found.ladder if r.role == "attacker"] == ["p3", "p2", "p1", "p0"]
    assert found.advantage is not None and found.even is not None
    # Centred thresholds: those given, less the means of the attackers (0.0) and more those of the defenders (0.0).
    assert abs(found.advantage.value) < 25 and found.even == pytest.approx((0.38, 0.24, 0.38), abs=0.03)
    assert (found.games, found.words, found.notes) == (6000, 85, ())


def test_strengths_worked_out_by_hand():
    """As attackers a, b and c win 3/4, 1/2 and 1/4 of their games whoever defends: odds of 3, 1 and 1/3, ln 3 apart, 190.8 Elo points."""
    wins = {"a": "wwwl", "b": "wlwl", "c": "wlll"}
    found = by_name(rate(games(*((one, other, wins[one]) for one in "abc" for other in "abc" if one != other)), ROLES))
    values = {who: rating.strength.value for who, rating in found.items() if rating.strength}
    assert [values[player, "attacker"] for player in "abc"] == pytest.approx([190.85, 0, -190.85], abs=0.05)
    assert [values[player, "defender"] for player in "abc"] == pytest.approx([0, 0, 0], abs=0.05)


def test_the_fit_is_that_of_statsmodels_with_one_row_a_game():
    """Counted results give what a row for each game does, errors clustered by word included (freq_weights= would be ignored)."""
    played = simulated(*STRENGTHS, 60, 12, seed=3, alike=0.5)
    found = by_name(rate(played, ROLES))
    places = [(int(g.players[0][1:]), int(g.players[1][1:])) for g in played]
    design = np.hstack([np.eye(4)[[a for a, _ in places]][:, 1:], -np.eye(4)[[d for _, d in places]][:, 1:]])
    outcome, words = [int(2 * g.score(0)) for g in played], [g.word for g in played]
    clusters = {"cov_type": "cluster", "cov_kwds": {"groups": np.unique(words, return_inverse=True)[1]}}
    fitted = OrderedModel(outcome, design, distr="logit").fit(method="bfgs", disp=0, gtol=1e-7, **clusters)
    centre = np.eye(4) - 1 / 4
    for first, role in ((0, "attacker"), (3, "defender")):
        values = centre @ np.array([0, *fitted.params[first : first + 3]])
        covariance = centre[:, 1:] @ fitted.cov_params()[first : first + 3, first : first + 3] @ centre[:, 1:].T
        for number in range(4):
            strength = found[f"p{number}", role].strength
            assert strength is not None and strength.low is not None
            assert strength.value / ELO == pytest.approx(values[number], abs=1e-3)
            # 2.201: Student's t for 12 words.
            assert (strength.value - strength.low) / ELO == pytest.approx(2.201 * covariance[number, number] ** 0.5, rel=2e-3)


def test_no_order_of_games_or_players_makes_a_difference():
    played = simulated(*STRENGTHS, 30, 10, seed=5)
    shuffled = random.Random(0).sample(played, k=len(played))
    assert rate(shuffled, ROLES) == rate(played, ROLES)
    names = {"p0": "z", "p1": "y", "p2": "x", "p3": "w"}
    renamed = by_name(rate([replace(g, players=tuple(names[p] for p in g.players)) for g in played], ROLES))
    for (player, role), rating in by_name(rate(played, ROLES)).items():
        assert renamed[names[player], role].strength == pytest.approx(rating.strength, abs=0.05)


def test_swapped_roles_swap_the_strengths():
    played = simulated(*STRENGTHS, 60, 10, seed=6)
    other = {0: 1, 1: 0, None: None}
    swapped = [replace(g, players=g.players[::-1], winner=other[g.winner]) for g in played]
    one, two = rate(played, ROLES), rate(swapped, ROLES)
    for player in ("p0", "p1", "p2", "p3"):
        assert by_name(one)[player, "attacker"].strength == pytest.approx(by_name(two)[player, "defender"].strength, abs=0.05)
    assert one.advantage is not None and two.advantage is not None and one.even is not None
    assert one.advantage == pytest.approx((-two.advantage.value, -two.advantage.high, -two.advantage.low), abs=0.05)
    assert one.even == pytest.approx(two.even[::-1] if two.even else None, abs=1e-4)


@pytest.mark.parametrize("letters", ["wwwwwwww", "llllllll"])
def test_who_wins_or_loses_every_game_gets_a_bound_and_the_others_their_strengths(letters: str):
    """As an attacker u wins (or loses) all; as a defender it plays as the others do."""
    found = rate(games(*EVEN, *(("u", x, letters) for x in "abc"), *((x, "u", "wlwl") for x in "abc")), ROLES)
    u = by_name(found)["u", "attacker"]
    assert u.strength is None and u.bound == ("no loss in 24 games" if letters[0] == "w" else "no win in 24 games")
    assert found.ladder[0 if letters[0] == "w" else 3] is u
    others = [rating for rating in found.ladder if rating is not u]
    assert all(rating.strength is not None and abs(rating.strength.value) < 1e-3 for rating in others)


def test_the_same_of_defenders_whose_attackers_then_have_fewer_games():
    found = by_name(rate(games(*EVEN, *((x, "u", "llllllll") for x in "abc"), *(("u", x, "wlwl") for x in "abc")), ROLES))
    assert found["u", "defender"].bound == "no loss in 24 games"
    strength = found["a", "attacker"].strength
    assert strength is not None and abs(strength.value) < 1e-3, "lost games against an unbeatable defender say nothing of attackers"


def test_ties_keep_a_player_from_being_unbeatable():
    found = by_name(rate(games(*EVEN, *(("u", x, "wwwt") for x in "abc"), ("a", "b", "tt")), ROLES))
    assert found["u", "attacker"].strength is not None


def test_groups_whose_games_against_each_other_all_went_one_way_are_not_compared():
    """a, b, c beat d, e in every role: no strength explains that best. Within the groups there are wins and losses."""
    strong, weak = "abc", "de"
    across = [(one, other, "wwww") for one in strong for other in weak] + [(one, other, "llll") for one in weak for other in strong]
    found = by_name(rate(games(*EVEN, *across, ("d", "e", "wlwl"), ("e", "d", "wlwl")), ROLES))
    assert all(found[player, role].strength is not None for player in strong for role in ROLES)
    assert found["d", "attacker"].strength is None and found["d", "attacker"].bound == "not comparable by 16 games"


def test_groups_that_never_met_are_not_compared():
    apart = [(one, other, "wlwl") for one in "xyz" for other in "xyz" if one != other]
    found = by_name(rate(games(*EVEN, *apart, ("a", "b", "wl")), ROLES))
    assert found["a", "attacker"].strength is not None and found["x", "attacker"].bound == "not comparable by 8 games"


def test_games_without_ties_and_games_that_one_role_never_wins():
    """A result that never came up is no category of the model."""
    found = rate(games(*EVEN), ROLES)
    assert found.even == pytest.approx((0.5, 0, 0.5), abs=1e-6) and found.advantage is not None
    never = rate(games(*((one, other, "ltlt") for one in "abc" for other in "abc" if one != other)), ROLES)
    assert never.even == pytest.approx((0, 0.5, 0.5), abs=1e-6) and never.advantage is None
    assert all(rating.strength is not None for rating in never.ladder)


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        [("a", "b", "w")],
        [("a", "b", "wlwl"), ("b", "a", "wlwt")],
        [(one, other, "tttt") for one in "abc" for other in "abc" if one != other],
        [(one, other, "wwww") for one in "abc" for other in "abc" if one != other],
        [("a", "b", "vv")],
    ],
    ids=["no game", "one game", "two players", "ties alone", "attackers always", "void games alone"],
)
def test_games_that_give_no_strengths_say_so(outcomes: list[tuple[str, str, str]]):
    found = rate(games(*outcomes), ROLES)
    assert len(found.notes) == 1 and found.advantage is None
    assert all(rating.strength is None and rating.bound for rating in found.ladder)


def test_one_word_gives_strengths_without_intervals():
    found = rate(games(*EVEN, words=1), ROLES)
    assert "one word" in found.notes[0]
    assert all(rating.strength is not None and rating.strength.low is None for rating in found.ladder)


def test_as_many_games_as_parameters_give_no_intervals():
    found = rate(games(("a", "b", "w"), ("a", "c", "l"), ("b", "a", "l"), ("b", "c", "w"), ("c", "a", "w"), ("c", "b", "l")), ROLES)
    assert all(rating.strength is None or rating.strength.low is None for rating in found.ladder)


def test_void_games_and_reasons_that_are_left_out_do_not_count():
    blunders = games(("a", "b", "wwwwwwww"), reason="foul")
    assert rate([*games(*EVEN), *blunders], ROLES, without=("foul",)) == rate(games(*EVEN), ROLES)
    assert rate([*games(*EVEN), *games(("a", "b", "vvvv"))], ROLES) == rate(games(*EVEN), ROLES)
    assert rate([*games(*EVEN), *blunders], ROLES) != rate(games(*EVEN), ROLES)


def test_two_roles_are_needed():
    with pytest.raises(ValueError, match="two roles, not with 3"):
        rate([], ("one", "two", "three"))


def test_intervals_hold_the_true_strength_as_often_as_they_say():
    inside, total = covered(words=20, games=40, simulations=25, alike=0.5)
    assert total == 200 and 0.88 <= inside / total <= 1


@pytest.mark.full
@pytest.mark.parametrize("words", [5, 10, 20, 30, 85])
def test_coverage_over_two_hundred_tournaments(words: int):
    inside, total = covered(words, games=100, simulations=200, alike=0.5)
    assert total == 1600 and 0.90 <= inside / total <= 0.98
