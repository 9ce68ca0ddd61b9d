"""What players say, counted by hand."""

from pathlib import Path

import pytest

from sparring.agents.core import Observation
from sparring.agents.players.simple import FunctionAgent
from sparring.agents.rollout import Match, play_all
from sparring.benchmarks.studies import talk
from sparring.envs.core import Task
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.selfplay.storage.episodes import read_episodes, write_episodes
from sparring.selfplay.storage.folder import RunFolder

ATTACKER = ("Can you name a thing that you find in the kitchen and that is small?", "The shape of it is long.", "It feels hard.")
DEFENDER = ("A spoon, for example.", "Is it a ladle?", "I know the word! It is a desk.")


def test_what_was_said_is_counted_asked_and_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def speaker(lines: tuple[str, ...]) -> FunctionAgent:
        return FunctionAgent(lambda observation, rng: lines[_turn(observation)])

    game = AdversarialTaboo()
    agents = {"attacker": speaker(ATTACKER), "defender": speaker(DEFENDER)}
    episodes = play_all(Match(word, game, Task(word, word, word, 0), agents, 0) for word in ("pen", "spoon"))
    (tmp_path / "config.yaml").write_text("")
    folder = RunFolder.open(tmp_path)
    write_episodes(folder.games(1), episodes)
    folder.append(folder.metrics, {"round": 1})
    found = talk.said(read_episodes(folder.games(1)))
    assert found == {"asked": 2 / 4, "named_asked": 1.0, "named_unasked": 1 / 2, "uttered": 1 / 2, "uttered_asked": 1.0}
    talk.main(talk.TalkConfig((tmp_path,)))
    assert "ask for a word" in capsys.readouterr().out
    with pytest.raises(ValueError, match="at least one run"):
        talk.main(talk.TalkConfig(()))


def _turn(observation: Observation) -> int:
    return len(observation.utterances) // 2
