"""Samples of finished games, by objective, on games written by hand."""

from dataclasses import replace

import pytest
from handmade import LOSS, WIN, make_episode

from sparring.agents.players.simple import RandomAgent
from sparring.selfplay.learner.batch import samples_of
from sparring.selfplay.objectives.credit import (
    Credit,
    Experience,
    baseline_samples,
    group_samples,
    preference_pairs,
    turn_samples,
    without_outcomes,
)
from sparring.selfplay.objectives.returns import outcome_returns, shuffled
from sparring.selfplay.objectives.spag import CORRECTED, winners_credit

SPAG: Credit = winners_credit(CORRECTED)


def test_group_relative_within_word_and_role():
    games = [
        make_episode("a", "It is sour.", WIN),
        make_episode("b", "It is sour.", LOSS),
        make_episode("c", "It is big.", WIN, group="other"),
    ]
    samples, _ = group_samples(Experience(games), outcome_returns(games), {})
    found = [(sample.role, sample.advantages.max(initial=-9, where=sample.loss_mask)) for sample in samples]
    assert found == [("attacker", -1), ("defender", 1), ("attacker", 1), ("defender", -1), ("attacker", 0), ("defender", 0)]


def test_games_against_another_opponent_are_another_group():
    games = [
        make_episode("a", "It is sour.", WIN),
        make_episode("b", "It is sour.", LOSS),
        make_episode("c", "It is sour.", LOSS),
        make_episode("d", "It is sour.", LOSS),
    ]
    other = RandomAgent(("lemon",))
    games[2:] = [replace(p, match=replace(p.match, agents={**p.match.agents, "defender": other})) for p in games[2:]]
    attacker, defender = (
        [sample.advantages[1] for sample in group_samples(Experience(games, roles=(role,)), outcome_returns(games), {})[0]]
        for role in ("attacker", "defender")
    )
    assert attacker == [-1, 1, 0, 0], "who won every game against an opponent learns nothing from them"
    assert defender == [1.5, -0.5, -0.5, -0.5], "its opponent is the same in all four"


def test_running_baselines_are_kept_per_role():
    games = [make_episode("a", "It is sour.", WIN), make_episode("b", "It is sour.", WIN)]
    samples, baselines = baseline_samples(Experience(games), outcome_returns(games), {})
    defender = [sample.advantages[1] for sample in samples if sample.role == "defender"]
    assert defender == pytest.approx([1, 0.95])
    assert baselines == pytest.approx({"AdversarialTaboo/attacker": -0.0975, "AdversarialTaboo/defender": 0.0975})


def test_spag_trains_the_winners_turns_with_growing_rewards():
    games = [make_episode("a", "It is sour.", "Hm.", "It is yellow.", WIN), make_episode("b", "It is sour.", LOSS)]
    samples, _ = SPAG(Experience(games), outcome_returns(games), {})
    assert [(sample.role, sample.weight) for sample in samples] == [("defender", 1.0), ("attacker", 1.0)]
    assert samples[0].advantages.tolist() == pytest.approx([0, 1 / 2.25, 1 / 2.25, 0, 1.25 / 2.25, 1.25 / 2.25])
    assert samples[1].advantages.tolist() == [0, 1, 1]


def test_outcomes_can_be_left_out():
    games = [make_episode("a", "It is sour.", "Hm.", "It is a lemon."), make_episode("b", *["Hm."] * 10)]
    assert [p.outcome.reason for p in games] == ["foul", "turn_limit"]
    returns = outcome_returns(games)
    assert [sample.role for sample in SPAG(Experience(games), returns, {})[0]] == ["defender"], "a tie has no winner"
    for reasons, left in ((("foul", "turn_limit"), 0), (("turn_limit",), 2), ((), 4)):
        assert len(without_outcomes(group_samples, reasons)(Experience(games), returns, {})[0]) == left
    assert without_outcomes(SPAG, ("turn_limit", "foul"))(Experience(games), returns, {})[0] == []


def test_pairs_are_of_one_word_and_role():
    games = [
        make_episode("a", "It is sour.", WIN),
        make_episode("b", "It is sour.", LOSS),
        make_episode("c", "It is big.", WIN, group="other"),
        make_episode("d", *["Hm."] * 10),
        make_episode("e", "It is round.", LOSS),
    ]
    found, _ = preference_pairs(Experience(games), outcome_returns(games), {})
    assert [(pair.chosen.role, pair.rejected.role) for pair in found] == [("attacker", "attacker"), ("defender", "defender")]
    # The attacker won b and e and lost a, the defender the other way round; each game is used once.
    ids = [[len(sample.ids) for sample in (pair.chosen, pair.rejected)] for pair in found]
    assert ids == [[3, 3], [3, 3]]


def test_swapped_roles_swap_what_is_learnt():
    games = [make_episode("a", "It is sour.", WIN), make_episode("b", "It is sour.", LOSS)]
    returns = outcome_returns(games)
    other = {id: {"attacker": of["defender"], "defender": of["attacker"]} for id, of in returns.items()}
    for credit in (group_samples, baseline_samples, turn_samples):
        one, two = (credit(Experience(games), given, {})[0] for given in (returns, other))
        by_role = [
            {role: [sample.advantages[1] for sample in samples if sample.role == role] for role in ("attacker", "defender")}
            for samples in (one, two)
        ]
        assert by_role[0]["attacker"] == by_role[1]["defender"]
        assert by_role[0]["defender"] == by_role[1]["attacker"]
    one, two = (preference_pairs(Experience(games), given, {})[0] for given in (returns, other))
    assert [p.chosen.ids.tolist() for p in one] == [p.rejected.ids.tolist() for p in two]


def test_one_role_can_be_trained_alone():
    games = [make_episode("a", "It is sour.", WIN), make_episode("b", "It is sour.", LOSS)]
    for credit in (group_samples, baseline_samples, turn_samples, SPAG, preference_pairs):
        examples, baselines = credit(Experience(games, roles=("defender",)), outcome_returns(games), {})
        assert {sample.role for sample in samples_of(examples)} == {"defender"}
        assert all("attacker" not in key for key in baselines)


def test_void_games_teach_nothing():
    games = [make_episode("a", "It is sour."), make_episode("b", "It is sour.", WIN)]
    samples, _ = group_samples(Experience(games), outcome_returns(games), {})
    assert {sample.role for sample in samples} == {"attacker", "defender"}
    assert len(samples) == 2


def test_shuffled_outcomes_are_the_same_outcomes_elsewhere():
    games = [make_episode(f"{i}", "It is sour.", WIN if i % 3 else LOSS) for i in range(30)]
    true, dealt = outcome_returns(games), shuffled(outcome_returns)(games, 1)
    assert true.keys() == dealt.keys()
    assert sorted(r["attacker"] for r in true.values()) == sorted(r["attacker"] for r in dealt.values())
    assert true != dealt


def test_turns_are_compared_with_all_turns_of_their_role():
    """The defender wins a game of two of its turns and loses one of one: with discount 1/2 its returns-to-go are 1/2, 1 and -1, whose
    mean is 1/6."""
    games = [make_episode("a", "It is sour.", "Hm.", "It is yellow.", WIN), make_episode("b", "It is sour.", LOSS)]
    samples, state = turn_samples(Experience(games, roles=("defender",)), outcome_returns(games), {}, discount=0.5)
    values = [sample.advantages[sample.loss_mask].tolist() for sample in samples]
    assert values == [pytest.approx([1 / 3, 1 / 3, 5 / 6, 5 / 6]), pytest.approx([-7 / 6, -7 / 6])]
    assert state == {}
