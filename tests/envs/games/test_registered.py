"""What every registered game owes: the shipped conformance check, no text that breaks it, and no secret in the others' views."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.envs.conformance import check_game
from sparring.envs.core import GAMES, Task, Utterance, make_game, register_game, replay
from sparring.envs.games import registered as games  # noqa: F401  registers the games
from sparring.envs.games.prompts import PROMPTS
from sparring.envs.views import GAME_PROMPTS, Message

NAMES = set(GAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_game_keeps_the_protocol(name: str):
    assert GAMES[name].example_talks
    check_game(GAMES[name])


@pytest.mark.parametrize("name", sorted(NAMES))
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=40))
def test_no_text_crashes_a_game(name: str, texts: list[str]):
    game = make_game(name)
    state = game.start(GAMES[name].example_tasks[0])
    for text in texts:
        if state.to_act is None:
            break
        state = state.apply(text)
    if state.outcome:
        assert state.outcome.reason in game.reasons
    assert replay(game, state.task, state.utterances) == state


@pytest.mark.parametrize("name", sorted(NAMES))
@given(data=st.data())
def test_the_secret_alone_changes_nothing_that_others_are_shown(name: str, data: st.DataObject):
    """As long as both games go on: every prompt that there is renders the same, byte by byte."""
    game = make_game(name)
    talk = data.draw(
        st.one_of(st.sampled_from(GAMES[name].example_talks), st.lists(st.text("xyz ?.", min_size=1, max_size=12), max_size=9))
    )
    one, other = GAMES[name].example_tasks[:2]
    states = [game.start(task) for task in (one, replace(other, id=one.id, group=one.group, seed=one.seed))]
    for text in ("", *talk):
        states = [state.apply(text) if text else state for state in states]
        if any(state.outcome for state in states):
            return
        for role in set(game.roles) - set(game.secret_roles):
            for prompts in (GAME_PROMPTS[name], *PROMPTS.values()):
                views = [prompts.render(state.observe(role)) for state in states]
                assert views[0] == views[1]
                assert one.secret not in repr(views[0]).replace(repr(text), "")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_role_has_prompts_and_the_informed_are_told_the_secret(name: str):
    game = make_game(name)
    task = GAMES[name].example_tasks[0]
    state = game.start(task)
    for role in game.roles:
        system, *opening = GAME_PROMPTS[name].render(state.observe(role))
        assert (task.secret in system.content) == (role in game.secret_roles)
        assert [message.role for message in (system, *opening)] == ["system", "user"][: 1 + (role == state.to_act)], (
            "who speaks first is told so"
        )


REWRITTEN = {"TicTacToe"}
"""Games that show a player the position alone: every turn is a token stream of its own."""


@pytest.mark.parametrize("name", sorted(NAMES - REWRITTEN))
def test_views_grow_at_their_end_only(name: str):
    """So that token streams go on: a later view of a role, whether it is to act or not, begins with the earlier one."""
    spec = GAMES[name]
    for talk in spec.example_talks:
        state = spec.make().start(spec.example_tasks[0])
        seen: dict[str, tuple[Message, ...]] = {}
        for text in ("", *talk):
            state = state.apply(text) if text else state
            for role in spec.make().roles:
                view = GAME_PROMPTS[name].render(state.observe(role))
                assert view[: len(seen.get(role, ()))] == seen.get(role, ())
                seen[role] = view


def test_a_talk_is_replayed_from_texts_or_utterances():
    spec = GAMES["AdversarialTaboo"]
    state = replay(spec.make(), spec.example_tasks[0], spec.example_talks[0])
    assert state.outcome is not None and state.outcome.reason == "declared_right"
    assert replay(spec.make(), state.task, state.utterances) == state
    with pytest.raises(ValueError, match="the game has ended"):
        replay(spec.make(), state.task, [*spec.example_talks[0], "More."])
    with pytest.raises(ValueError, match="turn of 'attacker'"):
        replay(spec.make(), state.task, [Utterance("defender", "Hm.")])


def test_games_are_known_by_their_names():
    with pytest.raises(ValueError, match="unknown game 'Chess'; known games: AdversarialTaboo, "):
        make_game("Chess")
    with pytest.raises(ValueError, match="registered already"):
        register_game(GAMES["TwentyQuestions"])


def test_prompts_for_an_unknown_role_say_what_to_do():
    seen = make_game("AdversarialTaboo").start(Task("t", "lemon", "lemon", 0)).observe("defender")
    with pytest.raises(ValueError, match=r"'judge' of AdversarialTaboo.*register_prompts"):
        PROMPTS["full"].render(seen._replace(role="judge"))
