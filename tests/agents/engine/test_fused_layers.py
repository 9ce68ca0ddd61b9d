"""Which parts of a model are replaced, and that it computes the same."""

from types import ModuleType
from typing import Any

import pytest
import torch
from tiny import needs_compiler, tiny_model
from torch import nn

from sparring.agents.engine import kernels
from sparring.agents.engine.attention import PackedModel, Prefill
from sparring.agents.engine.fused_layers import ROTARY, fused_layers, replaced


def found(model: nn.Module, heads: tuple[int, int, int] = (4, 2, 32)) -> list[str]:
    return sorted(quick.__name__ for _, _, quick in fused_layers(model, heads))


@needs_compiler
@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("llama", ["gated"] * 2 + ["norm"] * 5 + ["rotary"]),
        ("qwen3", ["gated"] * 2 + ["norm"] * 9 + ["rotary"]),
        ("gemma2", ["rotary"]),  # its norms multiply by 1 + weight, its gates are another function
        ("gpt2", []),
        ("cohere", ["gated"] * 2),  # it turns neighbours, and takes the mean off in its norms
    ],
)
def test_what_computes_the_same_is_found_and_nothing_else(kind: str, parts: list[str]):
    assert found(tiny_model(kind, **({} if kind == "gpt2" else {"hidden_size": 128, "head_dim": 32}))) == parts


@needs_compiler
@pytest.mark.parametrize("kind", ["llama", "llama3", "qwen2", "qwen3", "mistral", "granite", "gemma2", "gpt-oss"])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_model_computes_the_same_with_its_parts_replaced(kind: str, rows: int):
    model = tiny_model(kind, hidden_size=128, head_dim=32)
    parts = fused_layers(model, (4, 2, 32))
    assert parts
    ids = torch.arange(20 * rows).view(rows, 20)
    with torch.inference_mode():
        wanted = model(ids).logits
        with replaced(parts):
            got = model(ids).logits
        again = model(ids).logits
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
    # Other code has run; of gemma2 rotary positions alone, which are replaced for packed rows.
    assert torch.equal(got, wanted) == (kind == "gemma2" and rows > 1)
    assert torch.equal(again, wanted), "nothing is left behind"


def test_models_that_the_kernels_cannot_take_stay_as_they_are(monkeypatch: pytest.MonkeyPatch):
    assert found(tiny_model("llama", hidden_size=128).bfloat16()) == []
    monkeypatch.setattr(kernels, "AVAILABLE", False)
    assert found(tiny_model("llama", hidden_size=128)) == []


@needs_compiler
def test_weights_are_read_when_they_are_used():
    model = tiny_model("llama", hidden_size=128)
    parts = fused_layers(model, (4, 2, 32))
    with torch.no_grad():
        model.model.norm.weight = nn.Parameter(torch.full((128,), 3.0))
        wanted = model(torch.arange(8)[None]).logits
        with replaced(parts):
            torch.testing.assert_close(model(torch.arange(8)[None]).logits, wanted, atol=1e-4, rtol=1e-4)


@needs_compiler
def test_other_kinds_of_numbers_go_the_model_s_own_way():
    model = tiny_model("llama", hidden_size=128)
    parts = fused_layers(model, (4, 2, 32))
    model.bfloat16()
    with torch.no_grad(), replaced(parts):
        assert model(torch.arange(8)[None]).logits.dtype == torch.bfloat16


@needs_compiler
def test_whatever_goes_wrong_the_model_s_own_code_comes_back():
    model = tiny_model("llama", hidden_size=128)
    parts = fused_layers(model, (4, 2, 32))
    turns = {id(names): names[name] for names, name, _ in parts if name == ROTARY}
    with pytest.raises(RuntimeError, match="stop"), replaced(parts):
        raise RuntimeError("stop")
    assert "forward" not in vars(model.model.norm)
    assert all(names[name] is turns[id(names)] for names, name, _ in parts if name == ROTARY)


@needs_compiler
def test_functions_of_another_signature_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    import transformers.models.llama.modeling_llama as file

    assert isinstance(file, ModuleType)

    def other(x: Any) -> Any:
        return x

    monkeypatch.setattr(file, ROTARY, other)
    assert "rotary" not in found(tiny_model("llama", hidden_size=128))


@needs_compiler
def test_generation_uses_them_and_compiled_passes_do_not(monkeypatch: pytest.MonkeyPatch):
    used: list[str] = []
    norm = kernels.norm
    monkeypatch.setattr(kernels, "norm", lambda *given: (used.append("norm"), norm(*given))[1])
    for compiler, uses in ((None, True), ("eager", False)):
        packed = PackedModel(tiny_model("llama", hidden_size=128), compiler)
        data = packed.layout.empty(1, 32).zero_()
        part = Prefill(0, data, [0], [5])
        used.clear()
        with torch.inference_mode():
            packed.forward(torch.arange(5), part.positions, part.last, [part])
        assert bool(used) == uses


@needs_compiler
def test_where_gradients_are_wanted_the_model_s_own_code_runs():
    model = tiny_model("llama", hidden_size=128)
    with replaced(fused_layers(model, (4, 2, 32))):
        model(torch.arange(8)[None]).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


class Clamped(nn.Module):
    """As some families' gated layers: the same only while numbers are small."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = (nn.Linear(32, 32) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(nn.functional.silu(self.gate_proj(x)).clamp(max=10) * self.up_proj(x))


class OutsideRMSNorm(nn.Module):
    """The same only while numbers are not small."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(32)), 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + self.eps)


class OfTwoRMSNorm(OutsideRMSNorm):
    """Of another signature."""

    def forward(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return x * gate


def silent() -> nn.Module:
    """A gated layer that says nothing yet, whatever its gate is."""
    layer = tiny_model("gemma2", hidden_size=128).model.layers[0].mlp
    nn.init.zeros_(layer.down_proj.weight)
    return layer


@needs_compiler
@pytest.mark.parametrize("make", [Clamped, OutsideRMSNorm, OfTwoRMSNorm, silent])
def test_what_is_the_same_only_at_times_is_left_alone(make: Any):
    assert set(found(make())) <= {"rotary"}


@needs_compiler
def test_a_module_that_is_changed_later_is_left_to_who_changed_it():
    model = tiny_model("llama", hidden_size=128)
    parts = fused_layers(model, (4, 2, 32))
    called = []
    own = model.model.norm.forward
    model.model.norm.forward = lambda x: (called.append(1), own(x))[1]
    with torch.no_grad(), replaced(parts):
        model(torch.arange(8)[None])
    assert called and "forward" in vars(model.model.norm)
