"""The update's benchmark, in very small: all ways compute one gradient."""

import pytest
import torch

from sparring.benchmarks.speed import update
from sparring.benchmarks.speed.random_models import SHAPES, VOCABULARY
from sparring.benchmarks.speed.update import WAYS, UpdateSpeedConfig, difference, measure


def test_all_ways_compute_one_gradient(monkeypatch: pytest.MonkeyPatch):
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    monkeypatch.setitem(SHAPES, "small", small)
    monkeypatch.setitem(VOCABULARY, "small", 2000)
    monkeypatch.setattr(update, "PORTION", 64)
    result = measure(UpdateSpeedConfig(model="random:small", samples=12, runs=1, token_budget=2000, device="cpu"))
    for prompts in ("full", "brief"):
        assert {len(times) for times in result["runs"][prompts].values()} == {1}
        assert result["samples_per_second"][prompts].keys() == WAYS.keys()
        assert result["gradient_difference"][prompts]["shared"] < 1e-5 < result["gradient_difference"][prompts]["shared_bfloat16"] < 0.1
        assert result["tokens"][prompts]["computed_shared"] <= result["tokens"][prompts]["all"]
    assert result["tokens"]["full"]["computed_shared"] < 0.8 * result["tokens"]["full"]["all"]


def test_a_difference_is_a_share_of_the_norm():
    assert difference({"a": torch.tensor([3.0, 4.0])}, {"a": torch.tensor([3.0, 0.0])}) == pytest.approx(4 / 3)
