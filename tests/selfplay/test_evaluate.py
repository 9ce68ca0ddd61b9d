"""Counting games: hand-made outcomes, paired schedules, tournaments."""

import pytest

from sparring.agents.rollout import play_all
from sparring.agents.scripted import scripted
from sparring.agents.simple import FunctionAgent, SilentAgent
from sparring.envs.taboo import AdversarialTaboo
from sparring.selfplay.evaluate import cell, schedule, strength
from sparring.selfplay.round_metrics import describe, reward_spread
from sparring.selfplay.statistics import wilson
from sparring.selfplay.tournament import tournament
from sparring.selfplay.word_sets import round_tasks, word_sets

GAME = AdversarialTaboo(max_turns=3)
WORDS = ("lemon", "piano", "horse")
GUESSES_LEMON = FunctionAgent(lambda observation, rng: "I know the word! It is a lemon.", "guesser")
TALKS = FunctionAgent(lambda observation, rng: "Hm.", "talker")


def test_equal_words_and_seeds_give_equal_tasks_whoever_plays():
    one = schedule({"attacker": TALKS, "defender": TALKS}, GAME, WORDS, 7, seed=3)
    other = schedule({"attacker": SilentAgent(), "defender": scripted()}, GAME, WORDS, 7, seed=3)
    assert [(m.task, m.seed) for m in one] == [(m.task, m.seed) for m in other]
    assert len({m.seed for m in one}) == 7
    assert [m.task.secret for m in one[:4]] == ["lemon", "piano", "horse", "lemon"]


def test_a_cell_by_hand():
    played = play_all(schedule({"attacker": TALKS, "defender": GUESSES_LEMON}, GAME, WORDS, 6, seed=0))
    found = cell(played, "talker", "defender", "all")
    assert (found.games, found.wins, found.losses, found.ties, found.void) == (6, 2, 4, 0, 0)
    assert (found.low, found.high) == wilson(2, 6)
    assert found.reasons == {"declared_right": 2, "declared_wrong": 4}
    assert found.mean_turns == 1
    assert found.truth is None


def test_strength_has_a_cell_per_opponent_seat_and_group():
    cells = strength(GUESSES_LEMON, {"talker": TALKS}, GAME, {"a": ("lemon",), "b": ("piano",)}, 4, seed=0)
    rates = {(c.seat, c.words): c.win_rate for c in cells}
    assert rates == {
        ("attacker", "a"): 0,
        ("attacker", "b"): 0,
        ("attacker", "all"): 0,
        ("defender", "a"): 1,
        ("defender", "b"): 0,
        ("defender", "all"): 0.5,
    }


def test_a_tournament_plays_every_ordered_pair_on_the_same_words():
    found = tournament({"guesser": GUESSES_LEMON, "talker": TALKS, "silent": SilentAgent()}, GAME, WORDS, 3, seed=0)
    assert len(found["pairs"]) == 12
    of = {(e["player"], e["seat"], e["opponent"]): e for e in found["pairs"]}
    assert of["guesser", "defender", "talker"]["wins"] == 1
    assert of["talker", "attacker", "guesser"]["wins"] == 2
    totals = {(e["player"], e["seat"]): e["games"] for e in found["players"]}
    assert set(totals.values()) == {6}
    with pytest.raises(ValueError, match="at least two"):
        tournament({"talker": TALKS}, GAME, WORDS, 3, seed=0)


def test_a_round_in_numbers():
    played = play_all(schedule({"attacker": TALKS, "defender": TALKS}, GAME, WORDS, 2, seed=0))
    found = describe(played)
    assert (found["games"], found["ties"], found["mean_turns"]) == (2, 2, 6)
    assert found["distinct_utterances_per_1000_games"] == 500
    assert found["repeated"] == pytest.approx(8 / 12)
    assert found["truth"] is None


def test_the_spread_of_rewards_by_role_and_group():
    played = play_all(schedule({"attacker": TALKS, "defender": TALKS}, GAME, WORDS[:2], 4, seed=0))
    won = dict(zip((p.match.id for p in sorted(played, key=lambda p: p.match.task.secret)), (1.0, -1.0, 1.0, 1.0), strict=True))
    found = reward_spread(played, {id: {"attacker": value, "defender": -value} for id, value in won.items()})
    assert found["attacker/reward"] == 0.5 == -found["defender/reward"]
    assert found["attacker/reward_std"] == pytest.approx(0.75**0.5)
    assert found["frac_reward_zero_std"] == 0.5, "the games about one of the two words all ended alike"
    assert reward_spread(played, {}) == {}


def test_tasks_of_a_round_come_in_groups_about_one_word():
    tasks = round_tasks(WORDS, 24, 4, seed=1, label="r")
    assert len({t.id for t in tasks}) == 24
    assert len({t.seed for t in tasks}) == len({(t.seed, t.group) for t in tasks}) == 6, "games of a group begin alike"
    by_group: dict[str, set[str]] = {}
    for task in tasks:
        by_group.setdefault(task.group, set()).add(task.secret)
    assert len(by_group) == 6
    assert all(len(words) == 1 for words in by_group.values())
    assert sorted(word for words in by_group.values() for word in words) == sorted(WORDS * 2)


def test_word_groups_are_disjoint_and_only_everyday_words_have_truth():
    sets = word_sets("everyday", 0.5, imitating=True)
    assert not set(sets.imitated) & set(sets.selfplayed) | set(sets.played) & set(sets.heldout)
    assert sets.counts == {"imitated": 127, "selfplayed": 127, "heldout": 85}
    assert sets.truth is not None
    assert word_sets("common", 0.2, imitating=False).truth is None
