"""Many games at once: as one by one, never mixed."""

import itertools

import gymnasium
import numpy as np
import pytest

from sparring.agents.core import Reply

ID = "sparring.envs:sparring/AdversarialTaboo-v0"


def vector(n: int, **settings) -> gymnasium.vector.VectorEnv:
    return gymnasium.make_vec(ID, num_envs=n, vectorization_mode="vector_entry_point", **settings)


def test_games_are_those_of_single_environments():
    many = vector(3, role="defender")
    seen, _ = many.reset(seed=7)
    singles = [gymnasium.make(ID, role="defender").unwrapped for _ in range(3)]
    assert seen == tuple(env.reset(seed=7 + i)[0] for i, env in enumerate(singles))
    ended = np.zeros(3, bool)
    for _ in range(5):
        seen, rewards, terminated, truncated, infos = many.step(["Tell me more."] * 3)
        for i, env in enumerate(singles):
            if not ended[i]:
                text, reward, term, trunc, info = env.step("Tell me more.")
                assert (seen[i], rewards[i], terminated[i], truncated[i]) == (text, reward, term, trunc)
                assert infos["messages"][i] == info["messages"]
        ended |= terminated | truncated


def test_an_ended_game_begins_anew_at_the_next_step():
    env = vector(2, role="defender", opponent=lambda messages: "It is sour.")
    env.reset(seed=1, options={"word": "lemon"})
    _, rewards, terminated, _, infos = env.step(["I know the word! It is a lemon.", "Hm."])
    assert rewards.tolist() == [1, 0]
    assert terminated.tolist() == [True, False]
    assert infos["outcome"]["reason"][0] == "declared_right"
    seen, rewards, terminated, _, _ = env.step(["not heard: a lemon", "Hm."])
    assert rewards.tolist() == [0, 0]
    assert not terminated.any()
    assert "not heard" not in seen[0]
    assert seen[0].count("It is sour.") == 1


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
@pytest.mark.parametrize("others", [0, 1])
def test_a_tie_and_a_win_may_end_in_one_step(others: int, mode: str):
    """Of several outcomes in one step some have evidence and some have none, in either order, in Gymnasium's vector environments too."""
    env = gymnasium.make_vec(ID, num_envs=2, vectorization_mode=mode, role="both", max_turns=1)
    env.reset(seed=1)
    env.step(["Hm.", "Hm."])
    actions = ["Hm.", "Hm."]
    actions[others] = "I know the word! It is a zebra."
    _, _, terminated, _, infos = env.step(actions)
    assert terminated.all()
    outcome = infos["outcome"]
    assert outcome["reason"][others] == "declared_wrong"
    assert outcome["reason"][1 - others] == "turn_limit"
    assert outcome["_evidence"][others]
    assert not outcome["_evidence"][1 - others]
    assert outcome["evidence"]["matched"][others] == "zebra"


@pytest.mark.parametrize("game", ["AdversarialTaboo", "AdversarialTaboo-DrawingOut"])
def test_games_never_mix(game: str):
    """Over games that end at different steps and begin anew: every view holds its own game's talk alone, an attacker's its own secret."""
    env = vector(4, role="both", game=game, max_turns=3)
    env.reset(seed=1)
    secrets = [one._state.task.secret for one in env.envs]
    assert len(set(secrets)) == 4
    for step in range(12):
        # Game 2 is ended now and then, and so falls out of step with the others.
        actions = [f"Remark {i} at step {step}." if i != 2 or step % 3 else "I know the word! It is a zebra." for i in range(4)]
        seen, _, _, _, infos = env.step(actions)
        for i, text in enumerate(seen):
            assert not any(f"Remark {j} " in text for j in range(4) if j != i)
            secret = env.envs[i]._state.task.secret
            assert (f"word is {secret}." in text) == (infos["role"][i] == "attacker")
            others = {env.envs[j]._state.task.secret for j in range(4)} - {secret}
            assert not any(f"word is {word}." in text for word in others)
    assert [one._state.task.secret for one in env.envs] != secrets


def test_spaces_hold_what_is_seen():
    env = vector(3, role="attacker")
    seen, _ = env.reset(seed=1)
    assert env.observation_space.contains(seen)
    assert env.action_space.contains(env.action_space.sample())


def test_an_opponent_may_lose_with_its_first_words():
    """As in a single environment the game ends at the next step, whatever is said there; the others go on."""
    fouls = iter([True, False, False, False])
    env = vector(2, role="defender", opponent=lambda messages: "It is a lemon." if next(fouls, False) else "It is sour.")
    _, infos = env.reset(seed=1, options={"word": "lemon"})
    assert infos["outcome"]["reason"].tolist() == ["foul", None]
    _, rewards, terminated, _, infos = env.step(["Hm.", "Hm."])
    assert (rewards.tolist(), terminated.tolist()) == ([1, 0], [True, False])
    assert infos["outcome"]["reason"].tolist() == ["foul", None]
    seen, rewards, terminated, _, _ = env.step(["Not heard.", "Hm."])
    assert (rewards.tolist(), terminated.tolist()) == ([0, 0], [False, False])
    assert "It is sour." in seen[0]
    assert "Not heard." not in seen[0]


class Faltering:
    """An agent whose infrastructure fails in the turns of those numbers."""

    def __init__(self, *failing: int) -> None:
        self.failing, self.turns = failing, itertools.count()

    def player(self, game, role, key, seed):
        return self

    def act(self, observation):
        return Reply("Hm.", finish="error" if next(self.turns) in self.failing else "stop")
        yield

    def close(self):
        return ()


def test_a_game_whose_opponent_fails_is_void_and_the_others_go_on():
    env = vector(2, role="defender", opponent=Faltering(0, 4))
    env.reset(seed=1)
    for failed in ([True, False], [False, True]):
        _, rewards, terminated, truncated, infos = env.step(["Hm.", "Hm."])
        assert (rewards.tolist(), terminated.tolist(), truncated.tolist()) == ([0, 0], [False, False], failed)
        assert [reason for reason in infos["outcome"]["reason"] if reason] == ["void"]
    *_, truncated, _ = env.step(["Hm.", "Hm."])
    assert not truncated.any()


def test_wrong_actions_are_named_and_move_no_game():
    env, other = vector(2, role="both"), vector(2, role="both")
    env.reset(seed=1)
    other.reset(seed=1)
    for actions in (["Hm.", 3], "ab", ["Hm.", None]):
        with pytest.raises(TypeError, match="one str for each game, got"):
            env.step(actions)
    assert env.step(["Hm.", "Well."])[0] == other.step(["Hm.", "Well."])[0]


def test_counts_must_fit():
    env = vector(2)
    with pytest.raises(ValueError, match="as many seeds"):
        env.reset(seed=[1])
    env.reset(seed=1)
    with pytest.raises(ValueError, match="as many actions"):
        env.step(["Hm."])
    with pytest.raises(ValueError, match="num_envs"):
        vector(0)


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync", "async"])
def test_infos_hold_the_same_in_every_kind_of_vector(mode: str):
    """Gymnasium's asynchronous vectors share no memory for text: the page on the environment says how they are made."""
    options = {"vector_kwargs": {"shared_memory": False}} if mode == "async" else {}
    env = gymnasium.make_vec(ID, num_envs=2, vectorization_mode=mode, role="both", max_turns=1, **options)
    _, infos = env.reset(seed=1)
    assert infos["to_act"].tolist() == ["attacker", "attacker"] and "secret" not in infos
    env.step(["Hm.", "Hm."])
    *_, infos = env.step(["Hm.", "I know the word! It is a zebra."])
    assert infos["to_act"].tolist() == [None, None] and infos["_secret"].all()
    assert infos["outcome"]["reason"].tolist() == ["turn_limit", "declared_wrong"]
    assert infos["rewards"]["attacker"].tolist() == [0, 1]
    env.close()


def test_other_games_are_vectors_too():
    env = gymnasium.make_vec("sparring.envs:sparring/TwentyQuestions-v0", num_envs=2, vectorization_mode="vector_entry_point")
    _, infos = env.reset(seed=1, options={"word": "lemon"})
    assert infos["role"].tolist() == ["asker", "asker"]
    _, rewards, terminated, _, infos = env.step(["I know the word! It is a lemon.", "Is it red?"])
    assert rewards.tolist() == [1, 0] and terminated.tolist() == [True, False] and infos["secret"][0] == "lemon"
