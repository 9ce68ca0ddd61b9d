"""Rows of finished games, by objective, on games written by hand."""

import numpy as np
import pytest

from sparring.agents.core import Segment, TurnSpan
from sparring.agents.rollout import Match, Played, Said
from sparring.agents.simple import SilentAgent
from sparring.envs.core import Outcome, Task, Utterance, replay
from sparring.envs.taboo import AdversarialTaboo
from sparring.selfplay.experience import experience
from sparring.selfplay.rewards import outcome_returns, shuffled_returns

WIN, LOSS = "I know the word! It is a lemon.", "I know the word! It is a pear."


def played(id: str, *said: str, group: str = "lemon") -> Played:
    """A game about a lemon in which each utterance is two sampled tokens after one token of prompt."""
    game = AdversarialTaboo()
    task = Task(id, "lemon", group, 0)
    roles = [game.roles[i % 2] for i in range(len(said))]
    state = replay(game, task, [Utterance(role, text) for role, text in zip(roles, said, strict=True)])
    segments = {}
    for role in game.roles:
        turns = [i for i, speaker in enumerate(roles) if speaker == role]
        action = np.array([False, True, True] * len(turns), np.bool_)
        spans = tuple(TurnSpan(turn, 3 * k + 1, 3 * k + 3, "stop") for k, turn in enumerate(turns))
        ids = np.arange(len(action))
        segments[role] = (Segment(ids, action, np.where(action, -1, 0).astype(np.float32), spans, 1.0, "0"),) if turns else ()
    match = Match(id, game, task, dict.fromkeys(game.roles, SilentAgent()), 0)
    outcome = state.outcome or Outcome(dict.fromkeys(game.roles, 0.0), None, "void")
    return Played(match, state, outcome, segments, tuple(Said(role, "", "stop", 2) for role in roles), 0.0)


def test_group_relative_within_word_and_role():
    games = [played("a", "It is sour.", WIN), played("b", "It is sour.", LOSS), played("c", "It is big.", WIN, group="other")]
    rows, _ = experience(games, outcome_returns(games), "group", {})
    found = [(row.role, row.advantages.max(initial=-9, where=row.action)) for row in rows]
    assert found == [("attacker", -1), ("defender", 1), ("attacker", 1), ("defender", -1), ("attacker", 0), ("defender", 0)]


def test_running_baselines_are_kept_per_role():
    games = [played("a", "It is sour.", WIN), played("b", "It is sour.", WIN)]
    rows, baselines = experience(games, outcome_returns(games), "rae", {})
    defender = [row.advantages[1] for row in rows if row.role == "defender"]
    assert defender == pytest.approx([1, 0.95])
    assert baselines == pytest.approx({"AdversarialTaboo/attacker": -0.0975, "AdversarialTaboo/defender": 0.0975})


def test_spag_trains_the_winners_turns_with_growing_rewards():
    games = [played("a", "It is sour.", "Hm.", "It is yellow.", WIN), played("b", "It is sour.", LOSS)]
    rows, _ = experience(games, outcome_returns(games), "spag", {})
    assert [(row.role, row.weight) for row in rows] == [("defender", 1.0), ("attacker", 1.0)]
    assert rows[0].advantages.tolist() == pytest.approx([0, 1 / 2.25, 1 / 2.25, 0, 1.25 / 2.25, 1.25 / 2.25])
    assert rows[1].advantages.tolist() == [0, 1, 1]


def test_spag_drops_fouls_and_ties():
    games = [played("a", "It is a lemon."), played("b", *["Hm."] * 10)]
    assert [p.outcome.reason for p in games] == ["foul", "turn_limit"]
    assert experience(games, outcome_returns(games), "spag", {})[0] == []


def test_void_games_teach_nothing():
    games = [played("a", "It is sour."), played("b", "It is sour.", WIN)]
    rows, _ = experience(games, outcome_returns(games), "group", {})
    assert {row.role for row in rows} == {"attacker", "defender"}
    assert len(rows) == 2


def test_shuffled_outcomes_are_the_same_outcomes_elsewhere():
    games = [played(f"{i}", "It is sour.", WIN if i % 3 else LOSS) for i in range(30)]
    true, dealt = outcome_returns(games), shuffled_returns(games, 1)
    assert true.keys() == dealt.keys()
    assert sorted(r["attacker"] for r in true.values()) == sorted(r["attacker"] for r in dealt.values())
    assert true != dealt


def test_an_unknown_objective_is_named():
    with pytest.raises(ValueError, match="unknown objective 'ppo'"):
        experience([], {}, "ppo", {})
