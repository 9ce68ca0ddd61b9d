"""Matchmaking: probabilities by hand, shares of a round, nothing but the seed decides."""

from collections import Counter

import numpy as np
import pytest

from sparring.selfplay.league.matchmaking import Pairing, Record, pairings, probabilities

POOL = ("round 1", "round 2", "round 3")
ROLES = ("attacker", "defender")


def test_probabilities_by_hand():
    assert probabilities(POOL, {}, "uniform") == pytest.approx([1 / 3] * 3)
    assert probabilities(POOL, {}, "recent") == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    records = {"round 1": Record(9.5, 9.0 + 10), "round 2": Record(8.5, 8.0 + 1)}
    rates = [(9.5 + 0.5) / 20, (8.5 + 0.5) / 10, 0.5]
    weights = np.array([(1 - rate) ** 2 for rate in rates])
    assert probabilities(POOL, records, "pfsp") == pytest.approx(weights / weights.sum())


def test_an_opponent_that_always_loses_is_drawn_least_but_never_never():
    beaten = probabilities(POOL, {"round 2": Record(1000.0, 1000.0)}, "pfsp")
    assert 0 < beaten[1] < 1e-5 and beaten[0] == beaten[2]


def test_a_record_decays_and_counts_ties_as_half():
    record = Record().after(3.5, 5).after(1.0, 2)
    assert record == Record(0.9 * 3.5 + 1.0, 0.9 * 5 + 2)
    assert Record().win_rate == 0.5


def test_shares_of_a_round():
    drawn = pairings(POOL, {}, "uniform", 4000, 0.5, ROLES, seed=1)
    counts = Counter(pairing.opponent for pairing in drawn)
    assert abs(counts[None] / 4000 - 0.5) < 0.03
    assert all(abs(counts[name] / 4000 - 1 / 6) < 0.03 for name in POOL)
    roles = Counter(pairing.role for pairing in drawn if pairing.opponent)
    assert abs(roles["attacker"] - roles["defender"]) <= 1
    assert all((pairing.opponent is None) == (pairing.role is None) for pairing in drawn)


def test_a_round_has_few_different_opponents():
    pool = [f"round {number}" for number in range(1, 40)]
    drawn = pairings(pool, {}, "uniform", 500, 0.0, ROLES, seed=3)
    assert len({pairing.opponent for pairing in drawn}) == 4


def test_the_seed_decides_alone():
    one, again, other = (pairings(POOL, {}, "pfsp", 50, 0.3, ROLES, seed=seed) for seed in (5, 5, 6))
    assert one == again != other


def test_without_a_pool_and_with_mirror_1_all_is_mirror():
    assert pairings((), {}, "pfsp", 3, 0.0, ROLES, seed=0) == [Pairing()] * 3
    assert pairings(POOL, {}, "pfsp", 3, 1.0, ROLES, seed=0) == [Pairing()] * 3
