"""A plain Gymnasium loop: a policy of your own as the defender against a scripted attacker.

python docs/examples/gymnasium_loop.py
"""

import gymnasium


def policy(messages: list[dict[str, str]]) -> str:
    """Yours goes here: messages are a chat, as any language model takes it."""
    heard = " ".join(message["content"] for message in messages if message["role"] == "user")
    return "I know the word! It is a lemon." if "yellow" in heard else "Tell me more."


def main(episodes: int = 20) -> float:
    """The mean reward of some episodes."""
    env = gymnasium.make("sparring.envs:sparring/AdversarialTaboo-v0", role="defender", opponent="scripted")
    total = 0.0
    for episode in range(episodes):
        _, info = env.reset(seed=episode)
        ended = False
        while not ended:
            _, reward, terminated, truncated, info = env.step(policy(info["messages"]))
            ended = terminated or truncated
        total += float(reward)
        print(f"{info['outcome']['reason']:<15} {reward:+.0f}")
    env.close()
    return total / episodes


if __name__ == "__main__":
    print(f"mean reward {main():+.2f}")
