"""Games as a Python function plays them: counted by hand from scripted talks."""

from pathlib import Path

import pytest

from sparring.agents.players.simple import FunctionAgent
from sparring.envs.core import make_game
from sparring.selfplay import play
from sparring.selfplay.storage.episodes import read_episodes

GAME = make_game("AdversarialTaboo", max_turns=2)
SAYS_HM = FunctionAgent(lambda observation, rng: "Hm.", name="hm")


def guesses(observation, rng) -> str:
    """Knows lemons alone."""
    return "I know the word! It is a lemon."


def test_games_are_counted_from_both_roles_kept_and_handed_on(tmp_path: Path):
    seen = []
    agents = {"attacker": SAYS_HM, "defender": FunctionAgent(guesses, name="guesser")}
    cells = play(agents, GAME, ["lemon", "piano", "horse"], 6, 0, out=tmp_path / "g.jsonl.gz", each=seen.append)
    attacker, defender = cells
    assert (attacker.role, attacker.opponent, attacker.games, attacker.wins, attacker.losses) == ("attacker", "guesser", 6, 4, 2)
    assert (defender.role, defender.opponent, defender.wins, defender.ties) == ("defender", "hm", 2, 0)
    assert defender.reasons == {"declared_right": 2, "declared_wrong": 4} and defender.mean_turns == 1
    assert [e.match.id for e in seen] == [e.record["id"] for e in read_episodes(tmp_path / "g.jsonl.gz")] == list(map(str, range(6)))


def test_what_breaks_play_off_is_raised_when_the_file_is_whole(tmp_path: Path):
    left = 3

    def quota(observation, rng) -> str:
        nonlocal left
        left -= not observation.utterances
        if left < 0:
            raise ConnectionError("the quota is used up")
        return "Hm."

    agents = {"attacker": FunctionAgent(quota), "defender": SAYS_HM}
    with pytest.raises(ConnectionError, match="quota"):
        play(agents, GAME, ["lemon"], 10, 0, out=tmp_path / "g.jsonl.gz", concurrency=1)
    assert len(list(read_episodes(tmp_path / "g.jsonl.gz"))) == 3


def test_players_that_cannot_play_are_refused_before_any_game(tmp_path: Path):
    from sparring.agents.names import resolve

    with pytest.raises(ValueError, match="know the nouns of the everyday world"):
        play({"attacker": resolve("scripted"), "defender": SAYS_HM}, GAME, ["zeppelin"], 1, 0, out=tmp_path / "g.jsonl.gz")
    assert not any(tmp_path.iterdir())
