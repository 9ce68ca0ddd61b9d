"""What a model that plays on a CPU is computed in."""

from pathlib import Path

import pytest
import torch
from tiny import needs_compiler, save_tiny, tiny_model

from sparring.agents.engine import kernels
from sparring.agents.models import precision
from sparring.agents.models.loading import load_language_model
from sparring.agents.models.precision import gain, products

HALF, WHOLE = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("wanted", "large", "way", "faster", "chosen"),
    [
        (None, True, kernels.TILED, 3.0, HALF),
        (None, True, kernels.PAIRED, 1.4, HALF),
        (None, True, kernels.PAIRED, 1.1, WHOLE),  # it has the instructions, and they gain nothing
        (None, True, kernels.WIDENED, 3.0, WHOLE),  # it has none
        (None, False, kernels.TILED, 3.0, WHOLE),
        (HALF, False, kernels.WIDENED, 0.1, HALF),  # whoever asks for it gets it
        (WHOLE, True, kernels.TILED, 3.0, WHOLE),
    ],
)
def test_a_trial_decides_for_large_models_where_nobody_else_does(
    wanted: torch.dtype | None, large: bool, way: int, faster: float, chosen: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    model = tiny_model()
    monkeypatch.setattr(precision, "LARGE", 1000 if large else 10**9)
    monkeypatch.setattr(kernels, "instructions", lambda: way)
    monkeypatch.setattr(precision, "gain", lambda: faster)
    assert products(model, wanted) == chosen


def test_weights_in_half_precision_are_played_as_they_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "LARGE", 0)
    monkeypatch.setattr(precision, "gain", lambda: pytest.fail("there is nothing to try"))
    assert products(tiny_model().to(torch.float16), None) == torch.float16


@needs_compiler
def test_the_trial_compares_the_same_products(monkeypatch: pytest.MonkeyPatch):
    products = []
    ours, theirs = kernels.linear, torch.nn.functional.linear
    monkeypatch.setattr(kernels, "linear", lambda *arguments: (products.append(ours(*arguments)), products[-1])[1])
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *arguments: (products.append(theirs(*arguments)), products[-1])[1])
    gain.cache_clear()
    assert 0 < gain(rows=2) < 1000
    assert len(products) == 14
    assert all((x - products[0]).abs().mean() < 0.01 * products[0].abs().mean() for x in products)
    gain.cache_clear()


@needs_compiler
def test_bfloat16_on_a_cpu_leaves_the_weights_as_they_are(tmp_path: Path):
    folder = save_tiny(tmp_path / "m")
    model = load_language_model(folder, device="cpu", dtype="bfloat16")
    assert model.model.dtype == WHOLE and model.products == HALF
    for dtype in (None, "float32"):
        assert load_language_model(folder, device="cpu", dtype=dtype).products == WHOLE


def test_without_the_kernels_weights_are_rounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "AVAILABLE", False)
    model = load_language_model(save_tiny(tmp_path / "m"), device="cpu", dtype="bfloat16")
    assert model.model.dtype == model.products == HALF
