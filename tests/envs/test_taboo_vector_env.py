"""Many games at once: as one by one, never mixed."""

import gymnasium
import numpy as np
import pytest

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


@pytest.mark.parametrize("game", ["AdversarialTaboo", "AdversarialTaboo-DrawingOut"])
def test_games_never_mix(game: str):
    """Over games that end at different steps and begin anew: every view holds its own game's talk alone, an attacker's its own secret."""
    env = vector(4, role="both", game=game, max_turns=3)
    env.reset(seed=1)
    secrets = [one._state.task.secret for one in env.envs]
    assert len(set(secrets)) == 4
    for step in range(12):
        # Game 2 is ended now and then, and so falls out of step with the others.
        said = [f"Remark {i} at step {step}." if i != 2 or step % 3 else "I know the word! It is a zebra." for i in range(4)]
        seen, _, _, _, infos = env.step(said)
        for i, text in enumerate(seen):
            assert not any(f"Remark {j} " in text for j in range(4) if j != i)
            own = env.envs[i]._state.task.secret
            assert (f"word is {own}." in text) == (infos["role"][i] == "attacker")
            others = {env.envs[j]._state.task.secret for j in range(4)} - {own}
            assert not any(f"word is {word}." in text for word in others)
    assert [one._state.task.secret for one in env.envs] != secrets


def test_spaces_hold_what_is_seen():
    env = vector(3, role="attacker")
    seen, _ = env.reset(seed=1)
    assert env.observation_space.contains(seen)
    assert env.action_space.contains(env.action_space.sample())


def test_counts_must_fit():
    env = vector(2)
    with pytest.raises(ValueError, match="as many seeds"):
        env.reset(seed=[1])
    env.reset(seed=1)
    with pytest.raises(ValueError, match="as many actions"):
        env.step(["Hm."])
    with pytest.raises(ValueError, match="num_envs"):
        vector(0)
