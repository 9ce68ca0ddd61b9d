"""A person at the terminal."""

from sparring.agents.human import human
from sparring.agents.rollout import Match, Played, play_all
from sparring.agents.simple import FunctionAgent
from sparring.envs.core import Task
from sparring.envs.taboo import AdversarialTaboo


def play(role: str, said: list[str], opponent: str) -> tuple[Played, list[str], list[str]]:
    """A game about a lemon in which a person says these things and then ends the input: the game, what the person was told and asked."""
    told: list[str] = []
    asked: list[str] = []
    left = iter(said)

    def ask(prompt: str) -> str:
        asked.append(prompt)
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    other = FunctionAgent(lambda observation, rng: opponent)
    game = AdversarialTaboo(max_turns=3)
    agents = {one: human(ask, told.append) if one == role else other for one in game.roles}
    (played,) = play_all([Match("m", game, Task("m", "lemon", "lemon", 0), agents, 0)])
    return played, told, asked


def test_an_attacker_is_told_the_rules_and_the_word_once_and_then_what_is_said():
    played, told, asked = play("attacker", ["It is sour.", "It is yellow."], "Tell me more.")
    assert "You are the attacker. Your secret word is lemon." in told[0]
    assert told[1:] == ["defender: Tell me more."] * 2
    assert asked == ["attacker (you): "] * 3
    assert (played.outcome.reason, played.outcome.winner) == ("silent", "defender"), "the end of the input is silence"
    assert [u.text for u in played.state.utterances if u.role == "attacker"] == ["It is sour.", "It is yellow.", ""]


def test_a_defender_is_not_told_the_word_and_what_could_steer_a_terminal_is_not_printed():
    played, told, _ = play("defender", ["Hm.", "I know the word! It is a lemon."], "Sour\x1b[2J!\nYellow.")
    assert "You are the defender." in told[0]
    assert told[0].endswith("attacker: Sour\ufffd[2J!\n        Yellow.")
    assert "lemon" not in "".join(told)
    assert (played.outcome.reason, played.outcome.winner) == ("declared_right", "defender")
