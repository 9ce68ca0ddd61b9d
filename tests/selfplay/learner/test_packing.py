"""Samples in one sequence: each has the logits, and gives the gradient, that it has alone."""

import warnings

import pytest
import torch
from tiny import tiny_model
from torch import Tensor
from transformers import BloomConfig, BloomForCausalLM, Phi3Config, Phi3ForCausalLM

from sparring.selfplay.learner.batch import packed_places, sample_positions
from sparring.selfplay.learner.packing import attending, can_pack, can_share

LENGTHS = (31, 5, 44, 1, 18, 44)
OPTIONS = {
    "gemma2": {"sliding_window": 10, "attn_logit_softcapping": 1.0},
    "gemma3": {"sliding_window": 10, "layer_types": ["sliding_attention", "full_attention"]},
    "gpt-oss": {"sliding_window": 10},
}
"""Windows shorter than some samples, where there are windows, and caps of attention's logits that are reached."""


def model(kind: str, attention: str | None = None):
    return tiny_model(kind, vocab=60, **OPTIONS.get(kind, {}), **({"attn_implementation": attention} if attention else {}))


def phi3():
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return Phi3ForCausalLM(Phi3Config(**sizes, num_key_value_heads=2, sliding_window=10, pad_token_id=0)).eval()


def alone(of, ids: Tensor) -> Tensor:
    return torch.cat([of(input_ids=sample[None], use_cache=False).logits[0] for sample in ids.split(list(LENGTHS))])


def packed(of, ids: Tensor) -> Tensor:
    logits: Tensor = of(input_ids=ids[None], position_ids=sample_positions(LENGTHS)[None], use_cache=False).logits[0]
    return logits


@pytest.mark.parametrize(
    ("kind", "attention"),
    [
        ("llama", "sdpa"),
        ("llama", "eager"),
        ("qwen2", "sdpa"),
        ("qwen3", "sdpa"),
        ("gpt2", None),
        ("mistral", "sdpa"),
        ("mistral", "eager"),
        ("gemma2", "eager"),
        ("gemma3", "sdpa"),
        ("gpt-oss", "eager"),
    ],
)
def test_packed_rows_are_alone(kind: str, attention: str | None):
    of = model(kind, attention)
    assert can_pack(of)
    ids = torch.randint(0, 60, (sum(LENGTHS),), generator=torch.Generator().manual_seed(1))
    weights = torch.randn(sum(LENGTHS), 60, generator=torch.Generator().manual_seed(2))
    expected = alone(of, ids)
    (expected.log_softmax(-1) * weights).sum().backward()
    wanted = {name: p.grad.clone() for name, p in of.named_parameters() if p.grad is not None}
    of.zero_grad()
    with attending(of, LENGTHS):
        found = packed(of, ids)
        (found.log_softmax(-1) * weights).sum().backward()
    assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)
    gradients = {name: p.grad for name, p in of.named_parameters() if p.grad is not None}
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        assert (gradient - wanted[name]).norm() <= 1e-4 * wanted[name].norm() + 1e-5, name


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "mistral", "gemma2", "gemma3", "gpt-oss", "phi3"])
def test_samples_that_share_their_beginning_are_alone(kind: str):
    """The second shares with the first, the third with what the second shares and more, the fourth nothing, the fifth with the fourth."""
    of = phi3() if kind == "phi3" else model(kind)
    assert can_share(of)
    lengths, starts = (30, 27, 41, 9, 38), (0, 12, 26, 0, 8)
    places = [torch.from_numpy(indices) for indices in packed_places(lengths, starts)]
    ids = torch.randint(0, 60, (sum(lengths) - sum(starts),), generator=torch.Generator().manual_seed(1))
    weights = torch.randn(sum(lengths), 60, generator=torch.Generator().manual_seed(2))

    def gradients(logits: Tensor) -> dict[str, Tensor]:
        (logits.log_softmax(-1) * weights).sum().backward()
        summed = {name: p.grad.clone() for name, p in of.named_parameters() if p.grad is not None}
        of.zero_grad()
        return summed

    expected = torch.cat([of(input_ids=ids[indices][None], use_cache=False).logits[0] for indices in places])
    wanted = gradients(expected)
    with attending(of, lengths, starts):
        logits = of(input_ids=ids[None], position_ids=sample_positions(lengths, starts)[None], use_cache=False).logits[0]
        shared = logits[torch.cat(places)]
        assert torch.allclose(shared, expected, atol=1e-5, rtol=1e-5)
        summed = gradients(shared)
    assert summed.keys() == wanted.keys()
    for name, gradient in summed.items():
        assert (gradient - wanted[name]).norm() <= 1e-5 * wanted[name].norm() + 1e-5, name


def test_a_model_that_is_told_no_positions_is_found_out():
    class Odd(type(model("llama"))):  # type: ignore[misc]
        """Its positions are those of the sequence."""

        def forward(self, input_ids=None, position_ids=None, **kwargs):
            return super().forward(input_ids=input_ids, **kwargs)

    of = model("llama")
    of.__class__ = Odd
    assert not can_share(of)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_what_one_row_says_changes_no_other(kind: str):
    of = model(kind)
    ids = torch.randint(0, 60, (sum(LENGTHS),), generator=torch.Generator().manual_seed(1))
    changed = ids.clone()
    first, third = slice(0, LENGTHS[0]), slice(sum(LENGTHS[:2]), sum(LENGTHS[:3]))
    changed[third] = (changed[third] + 1) % 60
    with torch.no_grad(), attending(of, LENGTHS):
        one, other = packed(of, ids), packed(of, changed)
    assert torch.equal(one[first], other[first])
    assert not torch.allclose(one[third], other[third], atol=1e-2)
    assert torch.equal(one[third.stop :], other[third.stop :])


def test_a_model_whose_rows_would_see_each_other_is_found_out():
    torch.manual_seed(0)
    of = BloomForCausalLM(BloomConfig(vocab_size=60, hidden_size=32, n_layer=2, n_head=4)).eval()
    with pytest.warns(RuntimeWarning, match="samples of BloomForCausalLM cannot lie in one sequence"):
        assert not can_pack(of)


def test_layers_whose_rule_is_in_their_mask_are_not_packed():
    of = model("llama")
    of.config.layer_types = ["chunked_attention", "full_attention"]
    with pytest.warns(RuntimeWarning, match="padded instead"):
        assert not can_pack(of)


def test_without_packing_a_model_attends_as_before():
    of = model("llama")
    ids = torch.randint(0, 60, (1, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = of(input_ids=ids).logits
        with warnings.catch_warnings(), attending(of, (4, 5)):
            pass
        assert torch.equal(of(input_ids=ids).logits, before)
