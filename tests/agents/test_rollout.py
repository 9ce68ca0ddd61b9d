"""Playing many games at once."""

import gc
from collections.abc import Generator
from weakref import finalize

import pytest

from sparring.agents.core import Reply, Request, Sampling
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.players.scripted import scripted
from sparring.agents.players.simple import FunctionAgent, RandomAgent, SilentAgent
from sparring.agents.rollout import Episode, Match, _RunningEpisode, play, play_all, play_in_order
from sparring.envs.core import VOID, Task
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.games.taboo import AdversarialTaboo

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


def test_a_game_whose_end_is_being_told_when_a_signal_comes_is_kept():
    ids: list[str] = []

    def progress(episode: Episode) -> None:
        ids.append(episode.match.id)
        if len(ids) == 2:
            raise KeyboardInterrupt

    kept: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        play_in_order((match(i) for i in range(6)), lambda p: kept.append(p.match.id), progress=progress)
    assert set(ids) <= set(kept)


def test_silence_and_babble_are_data():
    episodes = play_all(
        [match(0, attacker=SilentAgent(), defender=scripted()), match(1, attacker=RandomAgent(["xyz"]), defender=SilentAgent())]
    )
    assert [(p.outcome.reason, p.outcome.winner) for p in episodes] == [("silent", "defender"), ("silent", "attacker")]


class _Broken:
    name = "broken"
    weight_version = None

    def player(self, game, role, key, seed):
        return self

    def act(self, observation) -> Generator[Request, Reply, Reply]:
        return Reply("", finish="error")
        yield

    def close(self):
        return ()


def test_a_failing_player_voids_its_game_alone():
    episodes = play_all([match(0, attacker=scripted(), defender=_Broken()), match(1)])
    assert episodes[0].outcome.reason == VOID
    assert set(episodes[0].outcome.utilities.values()) == {0.0}
    assert episodes[1].outcome.reason != VOID


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


class _Late:
    """A backend that answers at once, but for one stream: that only when nothing else is asked for."""

    name = "late"
    weight_version = None

    def __init__(self, late: str = ":m0:") -> None:
        self.late = late
        self.asked: list[Request] = []
        self.ready = True

    def submit(self, request: Request) -> None:
        self.asked.append(request)

    def poll(self) -> list[tuple[Request, Reply]]:
        now = [request for request in self.asked if self.late not in request.stream] or self.asked
        self.asked = [request for request in self.asked if request not in now]
        return [(request, Reply("Hm.")) for request in now]

    def close(self, stream: str):
        self.asked = [request for request in self.asked if request.stream != stream]
        return ()


def against(backend) -> dict:
    return {"attacker": ModelAgent(backend, TABOO_BRIEF, Sampling()), "defender": SilentAgent()}


def test_games_in_order_whichever_ends_first_and_a_long_one_holds_back_so_many():
    backend, begun, ended, ordered, waiting = _Late(), [], [], [], []

    def source():
        for i in range(200):
            begun.append(i)
            yield match(i, **against(backend))

    def progress(episode):
        ended.append(episode.match.id)
        if len(ended) < 15:
            waiting.append((len(begun), len(ordered)))

    play_in_order(source(), lambda episode: ordered.append(episode.match.id), concurrency=4, progress=progress)
    assert ordered == [f"m{i}" for i in range(200)]
    assert ended.index("m0") == 15, "all that may begin beside it have ended before: 4 * 4 less itself"
    assert waiting[-1] == (16, 0)
    assert ended != ordered


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ConnectionError])
@pytest.mark.parametrize("where", ["playing", "writing"])
def test_what_had_ended_is_handed_over_when_playing_is_broken_off(stop: type[BaseException], where: str):
    backend, ended, ordered = _Late(":m3:"), [], []

    def source():
        for i in range(200):
            if i == 12 and where == "playing":
                raise stop
            yield match(i, **against(backend))

    def each(episode):
        ordered.append(episode.match.id)
        if len(ordered) == 2 and where == "writing":
            raise stop

    with pytest.raises(stop):
        play_in_order(source(), each, concurrency=4, progress=lambda episode: ended.append(episode.match.id))
    assert set(ended) <= set(ordered) and "m3" not in ordered and len(ordered) > 2
    assert ordered == sorted(ordered, key=lambda id: int(id[1:])) and len(set(ordered)) == len(ordered)
    assert backend.asked == [], "streams are closed"


@pytest.mark.parametrize("games", [2000, pytest.param(100_000, marks=pytest.mark.full)])
def test_no_more_games_are_in_memory_than_are_in_play(games: int):
    alive = most = count = 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def progress(episode: Episode) -> None:
        nonlocal alive, most
        finalize(episode, gone)
        alive += 1
        most = max(most, alive)

    def each(episode: Episode) -> None:
        nonlocal count
        count += 1

    agents = dict.fromkeys(GAME.roles, SilentAgent())
    play_in_order((match(i, **agents) for i in range(games)), each, concurrency=8, progress=progress)
    assert count == games and most <= 9 and alive == 0
    assert not [thing for thing in gc.get_objects() if type(thing) is _RunningEpisode]


def test_a_server_that_has_no_answer_yet_does_not_keep_another_backend_waiting():
    slow, quick, polled = _Late(), _Late(), []

    class Noted(_Late):
        def poll(self):
            polled.append("slow")
            return super().poll()

    slow = Noted()
    slow.ready = False
    play_all([match(0, **against(slow)), match(1, **against(quick))], progress=lambda episode: polled.append(episode.match.id))
    assert polled.index("m1") < polled.index("slow"), "the other game has ended before anybody waits"
    assert {"m0", "m1"} < set(polled)
