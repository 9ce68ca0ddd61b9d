"""Paired tests by word, cycles, maximal lotteries: numbers worked out by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.benchmarks.reliability.rating_coverage import ROLES, simulated
from sparring.selfplay.evaluation.comparisons import Comparison, cycles, head_to_head, neighbours
from sparring.selfplay.evaluation.game_results import GameResult
from sparring.selfplay.evaluation.ratings import rate


def game(one: str, other: str, task: int, winner: int | None) -> GameResult:
    return GameResult(f"{one}-{other}/{task}", (one, other), f"w{task}", task, winner, "played", (1, 1), (0, 0))


def test_players_head_to_head_by_hand():
    """On words 0, 1, 2 a wins in both roles, on word 3 each wins as the attacker, on word 4 the defender's game is missing."""
    played = [game("a", "b", n, 0) for n in range(5)] + [game("b", "a", n, 1) for n in range(3)] + [game("b", "a", 3, 0)]
    (found,) = head_to_head(played)
    assert (found.player, found.other, found.role, found.pairs) == ("a", "b", None, 4)
    assert found.difference == 0.75 and (found.words_better, found.words_worse) == (3, 0)
    assert found.p == found.p_holm == 0.25, "twice the chance of three heads in three throws"
    # Differences 1, 1, 1, 0: mean 0.75, standard error sqrt(0.1875 / 3), Student's t with 3 degrees of freedom 3.182.
    assert found.low is not None and found.low == pytest.approx(0.75 - 3.1824 * 0.25, abs=1e-3)


def test_neighbours_are_compared_by_their_games_against_the_same_others():
    """As attackers a beats c on five words, where b loses to c; that a beats b says nothing here. As defenders c and b both lose to a."""
    played = [game("a", "c", n, 0) for n in range(5)] + [game("b", "c", n, 1) for n in range(5)] + [game("a", "b", 0, 0)]
    attackers, defenders = neighbours(played, rate(played, ROLES), ROLES)
    assert (attackers.role, attackers.player, attackers.other) == ("attacker", "a", "b")
    assert (attackers.pairs, attackers.difference, attackers.words_better) == (5, 1.0, 5)
    assert (attackers.p, attackers.p_holm) == (2 / 2**5, 4 / 2**5), "the smaller of two p-values counts twice"
    assert (defenders.role, defenders.player, defenders.other) == ("defender", "c", "b")
    assert (defenders.pairs, defenders.difference, defenders.p) == (1, 0.0, 1.0)


def test_one_word_has_no_interval_and_games_without_a_pair_no_comparison():
    (found,) = head_to_head([game("a", "b", 0, 0), game("b", "a", 0, None)])
    assert (found.low, found.high, found.p, found.difference) == (None, None, 1.0, 0.5)
    assert head_to_head([game("a", "b", 0, 0)]) == []


def test_equal_players_are_told_apart_as_rarely_as_the_level_says():
    """p0 and p1 are equally strong: of 60 tournaments few may find a difference at the level of 0.05."""
    played = [
        replace(result, players=tuple(f"{player}/{seed}" for player in result.players))
        for seed in range(60)
        for result in simulated((0.3, 0.3, -0.6), (0.1, 0.1, -0.2), 40, 20, seed, alike=0.5)
    ]
    p_values = [c.p for c in head_to_head(played) if {c.player[:2], c.other[:2]} == {"p0", "p1"}]
    assert len(p_values) == 60
    assert sum(p < 0.05 for p in p_values) <= 6, "more than six have a chance of 0.03 where it is one in twenty"


def margin(one: str, other: str, difference: float) -> Comparison:
    return Comparison(one, other, None, 10, difference, None, None, 0, 0, 1.0, 1.0)


def test_rock_paper_scissors_is_a_cycle_with_an_even_lottery():
    found = cycles([margin("paper", "rock", 0.5), margin("scissors", "paper", 0.5), margin("rock", "scissors", 0.5)])
    assert found.triads == 1 and found.share == 1
    assert found.cyclic == (("paper", "rock", "scissors"),)
    assert found.lottery == pytest.approx({"paper": 1 / 3, "rock": 1 / 3, "scissors": 1 / 3})


def test_a_lottery_leaves_out_who_loses_and_weighs_margins():
    """Margins 1, 2, 3 around the cycle: each player is drawn as often as the margin that it is not part of."""
    cycle = [margin("a", "b", 0.1), margin("b", "c", 0.2), margin("c", "a", 0.3)]
    found = cycles([*cycle, *(margin(player, "d", 0.5) for player in "abc")])
    assert found.triads == 4 and found.share == 0.25
    assert found.lottery == pytest.approx({"a": 2 / 6, "b": 3 / 6, "c": 1 / 6})


def test_a_ladder_has_no_cycle_and_even_players_are_in_no_triad():
    assert cycles([margin("a", "b", 0.5), margin("b", "c", 0.5), margin("a", "c", 0.1)]) == (cycles(()).__class__(1, (), None))
    found = cycles([margin("a", "b", 0.0), margin("b", "c", 0.5), margin("c", "a", 0.1)])
    assert (found.triads, found.share, found.lottery) == (0, None, None)


@given(st.lists(st.floats(-1, 1).filter(lambda x: abs(x) > 1e-3), min_size=6, max_size=6))
def test_no_player_is_expected_to_beat_a_maximal_lottery(margins: list[float]):
    pairs = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    against = dict(zip(pairs, margins, strict=True))
    against |= {(other, one): -value for (one, other), value in against.items()}
    found = cycles([margin(one, other, against[one, other]) for one, other in pairs])
    if found.lottery:
        assert sum(found.lottery.values()) == pytest.approx(1)
        for other in "abcd":
            assert sum(share * against.get((player, other), 0.0) for player, share in found.lottery.items()) >= -1e-7
