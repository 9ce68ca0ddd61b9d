"""A PettingZoo loop: two policies of your own in turn (extra `pettingzoo`).

python docs/examples/pettingzoo_loop.py
"""

from sparring.envs.hosting.pettingzoo_env import aec_env


def attacker(messages: list[dict[str, str]]) -> str:
    return "It is something that many people like."


def defender(messages: list[dict[str, str]]) -> str:
    return "Is it an animal?" if len(messages) < 6 else "I know the word! It is a dog."


def main(seed: int = 0) -> dict[str, float]:
    """The rewards of one game."""
    policies = {"attacker": attacker, "defender": defender}
    env = aec_env()
    env.reset(seed=seed, options={"word": "lemon"})
    rewards = dict.fromkeys(policies, 0.0)
    for agent in env.agent_iter():
        _, reward, terminated, truncated, info = env.last()
        rewards[agent] += float(reward)
        env.step(None if terminated or truncated else policies[agent](info["messages"]))
    env.close()
    return rewards


if __name__ == "__main__":
    print(main())
