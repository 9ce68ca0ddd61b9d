"""What players must not learn from each other, for every registered game, as games are played: thinking, and other games' talk."""

from collections.abc import Generator

import pytest

from sparring.agents.core import Reply, Request
from sparring.agents.rollout import Match, play_all
from sparring.envs.core import GAMES, Observation, Outcome, Task
from sparring.envs.games import registered as games  # noqa: F401  registers the games
from sparring.envs.views import GAME_PROMPTS

NAMES = sorted(name for name, spec in GAMES.items() if "turn_limit" in spec.make().reasons)
"""Games of free talk, in which any text may be said; in games of moves other texts end the game at once."""
SECRETS = ("lemon", "piano", "horse", "bread")


class Thinker:
    """Says harmless things and thinks of what would end the game; notes all that it is shown."""

    name = "thinker"
    weight_version = None

    def __init__(self, thought: str) -> None:
        self.thought = thought
        self.shown: dict[tuple[str, str], list[Observation]] = {}

    def player(self, game, role, key, seed):
        return _Player(self, role, key.rpartition(":")[0].rpartition(":")[2])


class _Player:
    def __init__(self, agent: Thinker, role: str, match: str) -> None:
        self.agent, self.role, self.match = agent, role, match

    def act(self, observation: Observation) -> Generator[Request, Reply, Reply]:
        self.agent.shown.setdefault((self.match, self.role), []).append(observation)
        text = "no" if self.role == "answerer" else f"Of {self.match} no more."
        return Reply(text, private=f"{self.agent.thought} {self.match}")
        yield

    def close(self):
        return ()


def play(name: str, thought: str) -> tuple[dict[tuple[str, str], list[Observation]], list[Outcome]]:
    agent = Thinker(thought)
    game = GAMES[name].make()
    matches = [
        Match(f"game{i}", game, Task(f"game{i}", word, word, i), dict.fromkeys(game.roles, agent), i) for i, word in enumerate(SECRETS)
    ]
    return agent.shown, [episode.outcome for episode in play_all(matches)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("thought", ["I know the word! It is a lemon.", "", "lemon piano horse bread"])
def test_thinking_reaches_neither_the_judge_nor_the_opponent(name: str, thought: str):
    shown, outcomes = play(name, thought)
    assert {outcome.reason for outcome in outcomes} == {"turn_limit"}
    assert (shown, outcomes) == play(name, "Hm.")
    assert len(shown) == 2 * len(SECRETS)


@pytest.mark.parametrize("name", NAMES)
def test_games_played_together_never_mix(name: str):
    shown, _ = play(name, "Hm.")
    game = GAMES[name].make()
    for (match, role), observations in shown.items():
        secret = SECRETS[int(match.removeprefix("game"))]
        for turn, observation in enumerate(observations):
            assert observation.role == role
            assert len(observation.utterances) == 2 * turn + game.roles.index(role)
            view = repr(GAME_PROMPTS[name].render(observation))
            assert not any(f"Of {other}" in view for other, _ in shown if other != match)
            assert not any(word in view for word in SECRETS if word != secret)
            assert (secret in view) == (role in game.secret_roles)
