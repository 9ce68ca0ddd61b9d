"""Matrix products of the compiled kernels, and models that play by them, against products of torch in float64."""

import numpy as np
import pytest
import torch
from test_loop import off_by, play
from tiny import needs_compiler, tiny_model
from torch import Tensor

from sparring.agents.core import Sampling
from sparring.agents.engine import kernels
from sparring.agents.engine.kernels import PAIRED, PLAIN, TILED, WIDENED
from sparring.agents.engine.loop import HFLoop

pytestmark = needs_compiler


def way(number: int, name: str, instructions: str | None = None):
    lacking = instructions is not None and kernels.instructions() < number
    return pytest.param(number, id=name, marks=pytest.mark.skipif(lacking, reason=f"needs a CPU with {instructions}"))


WAYS = [way(PLAIN, "float32"), way(WIDENED, "widened"), way(PAIRED, "paired", "AVX512_BF16"), way(TILED, "tiles", "AMX_BF16")]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def packed(weights: Tensor, number: int, monkeypatch: pytest.MonkeyPatch) -> kernels.Panels:
    monkeypatch.setattr(kernels, "instructions", lambda: number)
    return kernels.pack(weights, torch.float32 if number == PLAIN else torch.bfloat16)


@pytest.mark.parametrize("number", WAYS)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 64, 32), (5, 37, 40), (17, 96, 100), (33, 32, 64), (70, 200, 31), (0, 32, 32)])
def test_products_are_those_of_float64(number: int, rows: int, inputs: int, outputs: int, monkeypatch: pytest.MonkeyPatch):
    x, weights, bias = numbers(rows, inputs), numbers(outputs, inputs, seed=1), numbers(outputs, seed=2)
    panels = packed(weights, number, monkeypatch)
    if number != PLAIN:
        x, weights = x.bfloat16(), weights.bfloat16()
    wanted = x.double() @ weights.double().T
    # Each sum is of `inputs` products in float32, each of which rounds the sum so far.
    allowed = inputs * 2.0**-23 * (x.double().abs() @ weights.double().T.abs()).clamp(min=1)
    for some in (None, bias):
        found = kernels.linear(x.float(), panels, some)
        assert ((found - wanted - (0 if some is None else some)).abs() <= allowed).all()


@pytest.mark.parametrize("number", WAYS)
def test_a_row_of_a_product_does_not_depend_on_the_others(number: int, monkeypatch: pytest.MonkeyPatch):
    x, panels = numbers(45, 96), packed(numbers(70, 96, seed=1), number, monkeypatch)
    whole = kernels.linear(x, panels)
    x[1::2] = torch.nan
    some = kernels.linear(x, panels)
    assert torch.equal(some[::2], whole[::2]) and some[1::2].isnan().all()
    for rows in (1, 2, 3, 9, 31):
        assert torch.equal(kernels.linear(x[44 - rows : 45 : 2], panels), whole[44 - rows : 45 : 2]) or rows % 2
        assert torch.equal(kernels.linear(x[:rows:2], panels), whole[:rows:2])


@pytest.mark.parametrize("number", WAYS[1:])
def test_inputs_are_rounded_to_the_nearest_and_to_even(number: int, monkeypatch: pytest.MonkeyPatch):
    x = numbers(3, 64) * torch.tensor([[1e-30], [1.0], [1e30]])
    x[1, :4] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, torch.inf, -0.0])
    found = kernels.linear(x, packed(torch.eye(64), number, monkeypatch))
    wanted = x.bfloat16().float()
    assert torch.equal(found[0], wanted[0]) and torch.equal(found[2], wanted[2])
    assert found[1].isnan().sum() >= 62 or number == WIDENED, "infinity times zero is no number"
    x[1, 2] = 1.0
    assert torch.equal(kernels.linear(x, packed(torch.eye(64), number, monkeypatch)), x.bfloat16().float())


def test_only_float32_is_taken():
    panels = kernels.pack(numbers(32, 32), torch.bfloat16)
    with pytest.raises(TypeError, match=r"takes torch\.float32 on a CPU, not torch\.bfloat16"):
        kernels.linear(numbers(2, 32).bfloat16(), panels)
    with pytest.raises(TypeError, match=r"not torch\.float64"):
        kernels.pack(numbers(32, 32).double(), torch.bfloat16)


def test_torch_multiplies_in_bfloat16_as_before_afterwards():
    """Both use the processor's tiles, each with a layout of its own."""
    x, weights = numbers(40, 64).bfloat16(), numbers(96, 64, seed=1).bfloat16()
    before = torch.nn.functional.linear(x, weights)
    kernels.linear(x.float(), kernels.pack(weights.float(), torch.bfloat16))
    assert torch.equal(torch.nn.functional.linear(x, weights), before)


@pytest.mark.parametrize("number", WAYS[1:])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
def test_a_model_that_plays_in_bfloat16_stays_near_its_whole_pass(kind: str, number: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "instructions", lambda: number)
    model = tiny_model(kind, hidden_size=64)
    loop, ids, logprobs, sampled = play(model, streams=11, turns=3, products=torch.bfloat16)
    assert loop.packed.products == loop.packed.layout.dtype == torch.bfloat16
    assert 1e-5 < off_by(model, ids, logprobs, sampled) < 0.05


def test_where_scores_are_capped_keys_and_values_stay_as_they_are():
    model = tiny_model("gemma2", hidden_size=64)
    loop, ids, logprobs, sampled = play(model, streams=5, turns=2, products=torch.bfloat16)
    assert loop.packed.products == torch.bfloat16 and loop.packed.layout.dtype == torch.float32
    assert 1e-5 < off_by(model, ids, logprobs, sampled) < 0.05


@pytest.mark.parametrize("number", WAYS)
def test_what_is_said_does_not_depend_on_who_else_is_playing(number: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "instructions", lambda: number)
    products = torch.float32 if number == PLAIN else torch.bfloat16
    model = tiny_model("llama", hidden_size=64)
    _, ids, logprobs, _ = play(model, streams=7, turns=2, products=products)
    for only in (0, 4):
        _, alone, said, _ = play(model, streams=7, turns=2, products=products, only=only)
        assert alone[f"{only}"] == ids[f"{only}"]
        np.testing.assert_allclose(said[f"{only}"], logprobs[f"{only}"], rtol=0, atol=1e-6 if number == PLAIN else 0)


def test_rounded_weights_follow_those_that_are_trained():
    model = tiny_model("llama", hidden_size=64)
    loop = HFLoop(model, end_ids=frozenset(), products=torch.bfloat16)

    def logprobs(name: str) -> list[float]:
        loop.submit(name, [7, 8, 9], Sampling(max_new_tokens=4), seed=1)
        return loop.poll()[0].logprobs.tolist()

    before = logprobs("before")
    assert logprobs("again") == before
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight *= 1.5
    assert logprobs("written in place") != before
    after = logprobs("again after")
    model.model.layers[1].mlp.up_proj.weight.data /= 1.5  # which no version counts
    loop.invalidate()
    assert logprobs("announced") == before != after


def test_gradients_and_plain_passes_see_float32():
    model = tiny_model("llama", hidden_size=64)
    ids = torch.arange(10)[None]
    wanted = model(ids).logits
    loop = HFLoop(model, end_ids=frozenset(), products=torch.bfloat16)
    loop.submit("one", [7, 8, 9], Sampling(max_new_tokens=4), seed=1)
    loop.poll()
    found = model(ids).logits
    assert torch.equal(found, wanted)
    found.sum().backward()
    assert all(p.dtype == torch.float32 and p.grad is not None for p in model.parameters())
