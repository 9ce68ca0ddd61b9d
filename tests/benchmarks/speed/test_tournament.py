"""The agents of the tournament benchmark."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sparring.agents.names import model_location
from sparring.benchmarks.speed.tournament import AGENTS, mixtures, rounds


def test_mixtures_lie_between_two_models(tmp_path: Path):
    folders = mixtures(tmp_path)
    assert len(set(folders)) == AGENTS
    weights = [load_file(Path(folder) / "model.safetensors") for folder in folders]
    base, sft = (load_file(Path(model_location(name)) / "model.safetensors") for name in ("mini", "mini@imitation"))
    for name in sft:
        assert torch.equal(weights[0][name], base[name].float()) and torch.equal(weights[-1][name], sft[name].float())
        assert torch.allclose(weights[2][name], (base[name].float() + sft[name].float()) / 2)


def test_a_run_with_too_few_rounds_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="keeps 0 rounds; 5 are needed"):
        rounds(tmp_path)
