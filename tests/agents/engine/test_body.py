"""A Llama's whole pass through compiled code: which models take it, and that it is their own."""

from typing import Any

import numpy as np
import pytest
import torch
from test_loop import off_by, play
from tiny import needs_compiler, tiny_model
from torch import nn

from sparring.agents.core import Sampling
from sparring.agents.engine import body, kernels
from sparring.agents.engine.attention import PackedModel
from sparring.agents.engine.loop import HFLoop

pytestmark = needs_compiler
HALF = torch.bfloat16


def model(kind: str = "llama", **options: Any) -> Any:
    return tiny_model(kind, **{"hidden_size": 128, "num_attention_heads": 4, "head_dim": 32, **options})


def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which passes went through it: how many tokens each had."""
    found: list[int] = []
    whole = kernels.body
    monkeypatch.setattr(kernels, "body", lambda *given: (found.append(len(given[1])), whole(*given))[1])
    return found


@pytest.mark.parametrize("products", [torch.float32, HALF])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("llama", {}),
        ("untied", {"num_key_value_heads": 1, "head_dim": 64}),
        ("llama3", {"attention_bias": False, "num_hidden_layers": 3}),
        ("qwen2", {"use_sliding_window": False}),
        ("qwen3", {"head_dim": 64}),
    ],
)
def test_replies_are_those_of_a_plain_pass(kind: str, options: dict[str, Any], products: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    used, of = passes(monkeypatch), model(kind, **options)
    if kind == "qwen2":
        for layer in of.model.layers:  # biases and norms begin as zeros and ones
            nn.init.normal_(layer.self_attn.k_proj.bias)
            nn.init.normal_(layer.self_attn.v_proj.bias)
    if kind == "qwen3":
        for layer in of.model.layers:
            nn.init.uniform_(layer.self_attn.q_norm.weight, 0.5, 1.5)
            nn.init.uniform_(layer.self_attn.k_norm.weight, 0.5, 1.5)
    _, ids, logprobs, sampled = play(of, streams=11, turns=4, products=products)
    assert len(used) > 20
    bounds = (0, 1e-5) if products == torch.float32 else (1e-5, 0.06)
    assert bounds[0] < off_by(of, ids, logprobs, sampled) < bounds[1]


def test_long_prompts_of_one_stream_are_computed_too(monkeypatch: pytest.MonkeyPatch):
    used, of = passes(monkeypatch), model(length=6000)
    monkeypatch.setattr(body, "POSITIONS", 64)
    loop = HFLoop(of, end_ids=frozenset())
    prompt = np.random.default_rng(0).integers(6, 400, 500).tolist()
    loop.submit("one", prompt, Sampling(max_new_tokens=3), seed=1)
    (done,) = loop.poll()
    assert used[-3:] == [500, 1, 1]
    ids = loop.ids("one")
    with torch.no_grad():
        wanted = of(torch.tensor([ids])).logits[0, -4:-1].log_softmax(-1)
    np.testing.assert_allclose(done.logprobs, wanted[torch.arange(3), torch.tensor(ids[-3:])], atol=1e-5)


@pytest.mark.parametrize("products", [torch.float32, HALF])
def test_what_a_row_gets_does_not_depend_on_the_others_to_the_bit(products: torch.dtype):
    of = model()
    _, ids, logprobs, _ = play(of, streams=7, turns=2, products=products)
    for only in (0, 4):
        _, alone, said, _ = play(of, streams=7, turns=2, products=products, only=only)
        assert alone[f"{only}"] == ids[f"{only}"] and said[f"{only}"] == logprobs[f"{only}"]


def doubled(module: Any, _args: Any, output: Any) -> Any:
    return output * 2


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mistral", {}),  # a window
        ("gemma2", {"head_dim": 32}),
        ("granite", {}),  # scaled logits
        ("cohere", {}),
        ("llama", {"hidden_act": "gelu"}),
        ("llama", {"intermediate_size": 72}),
        ("llama", {"head_dim": 16}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}}),
        ("llama", {"mlp_bias": True}),
    ],
)
def test_other_models_go_their_own_way(kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    of = model(kind, **options)
    packed = PackedModel(of)
    assert packed._body is None
    assert off_by(of, *play(of, streams=3, turns=2)[1:]) < 1e-4


def test_a_model_of_other_numbers_than_its_parts_say_goes_its_own_way():
    """Whatever its class does beside the parts that are known, as Granite's residuals do."""
    of = model()
    own = type(of.model.layers[0]).forward

    class Halved(type(of.model.layers[0])):  # type: ignore[misc]
        def forward(self, *given: Any, **options: Any) -> Any:
            return own(self, *given, **options) * 0.5

    of.model.layers[0].__class__ = Halved
    assert PackedModel(of)._body is None


def test_a_model_that_is_changed_later_goes_its_own_way(monkeypatch: pytest.MonkeyPatch):
    used, of = passes(monkeypatch), model()
    loop = HFLoop(of, end_ids=frozenset())

    def logprobs(name: str) -> list[float]:
        used.clear()
        loop.submit(name, [7, 8, 9], Sampling(max_new_tokens=4), seed=1)
        return loop.poll()[0].logprobs.tolist()

    before = logprobs("before")
    assert used
    with torch.no_grad():
        of.model.layers[1].mlp.up_proj.weight *= 1.5
    changed = logprobs("trained")
    assert used and changed != before
    handle = of.model.layers[0].mlp.register_forward_hook(doubled)
    loop.invalidate()
    assert logprobs("hooked") != changed and not used
    handle.remove()
    loop.invalidate()
    assert logprobs("as before") == changed and used
    # A hook of the head, as benchmarks/speed/random_models.py has one, is called by either way.
    of.lm_head.register_forward_hook(doubled)
    loop.invalidate()
    assert logprobs("hooked head") != changed and used


def test_large_models_in_float32_are_not_copied(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(body, "LARGE", 1000)
    assert PackedModel(model())._body is None
    assert PackedModel(model(), products=HALF)._body is not None


def test_a_row_without_room_and_a_block_that_is_not_there_are_errors(monkeypatch: pytest.MonkeyPatch):
    packed = PackedModel(model())
    found = packed._body
    assert found is not None and found.ready()
    data = torch.zeros(1, 4, 2, 16 * 32)
    ids, keep, tables = torch.tensor([1]), torch.tensor([0]), torch.zeros(1, 1, dtype=torch.int64)
    with torch.inference_mode():
        for position, table, error in ((16, tables, "no room"), (-1, tables, "no room"), (3, tables + 1, "not there")):
            with pytest.raises(IndexError, match=error):
                found(ids, keep, position, torch.tensor([[0, position, 0, 1]]), table, data)
