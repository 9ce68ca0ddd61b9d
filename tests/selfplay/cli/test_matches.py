"""What commands that play games share."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from sparring.agents.core import Sampling
from sparring.agents.players.model_agent import ModelAgent
from sparring.selfplay.cli.main import main
from sparring.selfplay.cli.matches import agents_of
from sparring.selfplay.runtime.progress import Quiet


def test_lengths_and_top_p_reach_the_models_that_play(model: Path):
    agents = agents_of({"attacker": str(model), "defender": "silent"}, 0.7, "cpu", top_p=0.9, max_new_tokens=3)
    assert agents["attacker"].sampling == Sampling(0.7, top_p=0.9, max_new_tokens=3)
    assert agents_of({"a": str(model)}, 1.0, "cpu")["a"].sampling == Sampling(1.0, max_new_tokens=6), "the card's own length"


@pytest.mark.parametrize("command", ["play", "tournament", "collect"])
def test_commands_that_play_say_how_far_they_are_and_how_full_batches(
    command: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told = []

    class Bar(Quiet):
        @contextmanager
        def phase(self, title: str, total: int, unit: str = "games"):
            yield lambda steps=1, tokens=0, occupancy=None: told.append((title, total, steps, tokens, occupancy))

    monkeypatch.setattr("sparring.selfplay.runtime.progress.Shown", Bar)
    who = {
        "play": ["--player", str(model), "--opponent", "scripted"],
        "tournament": [str(model), "scripted"],
        "collect": [str(tmp_path / "x.jsonl"), "--teacher", str(model), "--opponent", "scripted"],
    }[command]
    assert main([command, *who, "--games", "4", "--game-options", "max_turns=2", "--temperature", "1"]) == 0
    total = 4 if command == "play" else 8
    assert [(title, of, steps) for title, of, steps, _, _ in told] == [(command, total, 1)] * total
    assert sum(tokens for *_, tokens, _ in told) > 0
    assert all(0 < filled <= 1 for *_, filled in told[-3:])


def test_the_memory_of_caches_is_bounded_and_shared_by_the_models_that_play(model: Path, tmp_path: Path):
    other = str(shutil.copytree(model, tmp_path / "other"))
    whole = agents_of({"attacker": str(model)}, 1.0, "cpu")["attacker"].model.loop.memory_bound()
    gib = whole / 4 / 2**30
    for names, share in (((str(model), "scripted"), 1), ((str(model), str(model)), 1), ((str(model), other), 2)):
        agents = agents_of(dict(zip(("attacker", "defender"), names, strict=True)), 1.0, "cpu", gib)
        bounds = [agent.model.loop.memory_bound() for agent in agents.values() if isinstance(agent, ModelAgent)]
        assert all(whole / 16 / share < bound <= whole / 4 / share for bound in bounds)


@pytest.mark.parametrize("command", [["play", "--player"], ["tournament", "scripted"], ["collect", "x.jsonl", "--teacher"]])
def test_too_little_memory_is_said(command: list[str], model: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*command, str(model), "--max-memory", "0.000001"]) == 2
    assert "are the least" in capsys.readouterr().err
    for wrong, shown in (("-1", "-1.0"), ("1e300", "1e+300"), ("1e7", "10000000.0")):
        assert main([*command, str(model), "--max-memory", wrong]) == 2
        assert f"max_memory must be 0 to 1,048,576, got {shown}" in capsys.readouterr().err
