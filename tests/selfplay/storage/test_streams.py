"""Token streams on the disk come back as they were, or not at all."""

from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.core import Sampling
from sparring.agents.models.language_model import LanguageModel
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.players.scripted import scripted
from sparring.agents.rollout import Episode, Match, play_all
from sparring.envs.core import VOID, Outcome, Task
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.envs.games.taboo import AdversarialTaboo
from sparring.selfplay.storage.episodes import write_episodes
from sparring.selfplay.storage.streams import read_round, write_streams


@pytest.fixture(scope="module")
def games() -> tuple[list[Match], list[Episode]]:
    """A scripted player has no streams; a model's has two where its temperature changed."""
    tokenizer = tiny_tokenizer()
    model = LanguageModel(tiny_model(vocab=len(tokenizer), length=512), tokenizer)
    speaks = ModelAgent(model, TABOO_BRIEF, Sampling(max_new_tokens=6))
    agents = {"attacker": scripted(), "defender": speaks}
    game = AdversarialTaboo(max_turns=2)
    matches = [Match(f"{i}", game, Task(f"{i}", "lemon", "lemon", i), agents, i) for i in range(4)]
    episodes = play_all(matches)
    twice = {"attacker": (), "defender": episodes[1].segments["defender"] * 2}
    void = Outcome(dict.fromkeys(game.roles, 0.0), None, VOID)
    void_state = game.start(matches[2].task).apply("It is yellow.")
    return matches, [
        episodes[0],
        replace(episodes[1], segments=twice),
        replace(episodes[2], state=void_state, outcome=void, turns=episodes[2].turns[:1], segments={"attacker": (), "defender": ()}),
        episodes[3],
    ]


def same(one: Episode, other: Episode) -> bool:
    assert (one.match, one.state, one.outcome, one.turns) == (other.match, other.state, other.outcome, other.turns)
    for role in one.match.game.roles:
        for mine, theirs in zip(one.segments[role], other.segments[role], strict=True):
            for a, b in zip(vars(mine).values(), vars(theirs).values(), strict=True):
                assert np.array_equal(a, b) and a.dtype == b.dtype if isinstance(a, np.ndarray) else a == b
    return True


def test_streams_come_back_as_they_were(games: tuple[list[Match], list[Episode]], tmp_path: Path):
    matches, episodes = games
    write_episodes(tmp_path / "games.jsonl.gz", episodes)
    write_streams(tmp_path / "streams.npz", episodes, tmp_path / "games.jsonl.gz", {"seed": 2**62})
    again, about = read_round(tmp_path / "streams.npz", tmp_path / "games.jsonl.gz", matches)
    assert all(same(*both) for both in zip(episodes, again, strict=True)) and len(again) == 4
    assert about == {"seed": 2**62}
    assert astuple(again[0].segments["defender"][0].turns[0])


def test_what_is_of_other_games_is_refused(games: tuple[list[Match], list[Episode]], tmp_path: Path):
    matches, episodes = games
    streams, file = tmp_path / "streams.npz", tmp_path / "games.jsonl.gz"
    write_episodes(file, episodes)
    write_streams(streams, episodes, file, {})
    with pytest.raises(ValueError, match="other games than this round's"):
        read_round(streams, file, matches[:3])
    write_episodes(file, episodes[::-1])
    with pytest.raises(ValueError, match="it is of other games"):
        read_round(streams, file, matches)
    streams.write_bytes(streams.read_bytes()[:-30])
    with pytest.raises(ValueError, match="cannot be read"):
        read_round(streams, file, matches)
    np.savez(streams, description=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        read_round(streams, file, matches)
