"""Playing many games at once."""

from collections.abc import Generator

import pytest

from sparring.agents.core import Reply, Request
from sparring.agents.rollout import Match, play, play_all
from sparring.agents.scripted import scripted
from sparring.agents.simple import FunctionAgent, RandomAgent, SilentAgent
from sparring.envs.core import VOID, Task
from sparring.envs.taboo import AdversarialTaboo

GAME = AdversarialTaboo()


def match(i: int, **agents) -> Match:
    agents = agents or dict.fromkeys(GAME.roles, scripted())
    return Match(f"m{i}", GAME, Task(f"m{i}", "lemon", "lemon", i), agents, i)


def test_games_do_not_depend_on_how_many_are_played_at_once():
    one = [p.state for p in play_all([match(i) for i in range(20)], concurrency=1)]
    assert one == [p.state for p in play_all([match(i) for i in range(20)], concurrency=7)]


def test_games_stream_in_as_they_are_asked_for():
    asked = []

    def source():
        for i in range(100):
            asked.append(i)
            yield match(i)

    games = play(source(), concurrency=4)
    next(games)
    assert len(asked) <= 8
    assert len(list(games)) == 99


def test_silence_and_babble_are_data():
    played = play_all(
        [match(0, attacker=SilentAgent(), defender=scripted()), match(1, attacker=RandomAgent(["xyz"]), defender=SilentAgent())]
    )
    assert [(p.outcome.reason, p.outcome.winner) for p in played] == [("silent", "defender"), ("silent", "attacker")]


class _Broken:
    name = "broken"
    weight_version = None

    def seat(self, game, role, key, seed):
        return self

    def act(self, observation) -> Generator[Request, Reply, Reply]:
        return Reply("", finish="error")
        yield

    def close(self):
        return ()


def test_a_failing_player_voids_its_game_alone():
    played = play_all([match(0, attacker=scripted(), defender=_Broken()), match(1)])
    assert played[0].outcome.reason == VOID
    assert set(played[0].outcome.utilities.values()) == {0.0}
    assert played[1].outcome.reason != VOID


def test_a_missing_player_is_named():
    with pytest.raises(ValueError, match="no agent for defender"):
        play_all([match(0, attacker=scripted())])


def test_two_matches_need_two_ids():
    with pytest.raises(ValueError, match="two matches have the id 'm0'"):
        play_all([match(0), match(0)])


def test_players_see_no_more_than_their_role():
    seen = []
    spy = FunctionAgent(lambda observation, rng: seen.append(observation) or "Hm.")
    play_all([match(0, attacker=scripted(), defender=spy)])
    assert seen
    assert all(o.role == "defender" and not o.private for o in seen)
