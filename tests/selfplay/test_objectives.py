"""Losses against numbers worked out by hand, and their gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparring.selfplay.objectives import clipped_policy_loss, entropy, exact_kl, k3, sampled_kl, token_logprobs


def test_token_logprobs_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    logprobs, whole = token_logprobs(logits, torch.tensor([1, 0]))
    assert logprobs.tolist() == pytest.approx([math.log(0.75), math.log(0.5)])
    assert whole.exp().sum(-1).tolist() == pytest.approx([1, 1])


def test_logits_are_divided_by_the_sampling_temperature():
    logits = torch.tensor([[0.0, math.log(9.0)]])
    logprobs, _ = token_logprobs(logits, torch.tensor([1]), torch.tensor([2.0]))
    assert logprobs.item() == pytest.approx(math.log(0.75))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (1.1, 1.0, -1.1),
        (1.5, 1.0, -1.2),
        (0.5, 1.0, -0.5),
        (0.5, -1.0, 0.8),
        (1.5, -1.0, 1.5),
        (1.5, 0.0, 0.0),
    ],
)
def test_the_clip_by_hand(ratio: float, advantage: float, loss: float):
    sampler = torch.tensor([-1.0])
    found = clipped_policy_loss(sampler + math.log(ratio), sampler, torch.tensor([advantage]), low=0.2, high=0.2)
    assert found.item() == pytest.approx(loss)


def test_outside_the_clip_there_is_no_gradient():
    logprobs = torch.tensor([math.log(1.5) - 1, -1.0], requires_grad=True)
    clipped_policy_loss(logprobs, torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0]), low=0.2, high=0.2).sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([0.0, -1.0])


def test_exact_kl_by_hand():
    p, q = torch.tensor([[0.75, 0.25]]), torch.tensor([[0.5, 0.5]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert exact_kl(p.log(), q.log()).item() == pytest.approx(expected)
    assert exact_kl(p.log(), p.log()).item() == pytest.approx(0)


def test_k3_is_unbiased_for_the_kl():
    p, q = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.5, 0.3])
    estimate = (p * k3(p.log(), q.log())).sum()
    assert estimate.item() == pytest.approx(exact_kl(p.log()[None], q.log()[None]).item(), rel=1e-5)


def test_the_sampled_kl_has_the_gradient_of_the_kl():
    logits, q = torch.tensor([0.3, -0.2, 0.1]), torch.tensor([0.2, 0.5, 0.3])
    one = logits.clone().requires_grad_()
    exact_kl(one.log_softmax(-1)[None], q.log()[None]).sum().backward()
    other = logits.clone().requires_grad_()
    logprobs = other.log_softmax(-1)
    sampler = logprobs.detach()
    (sampler.exp() * sampled_kl(logprobs, sampler, q.log())).sum().backward()
    assert one.grad is not None
    assert other.grad is not None
    assert torch.allclose(one.grad, other.grad, atol=1e-6)


@given(st.lists(st.floats(-20, 0), min_size=1, max_size=8), st.floats(-20, 0))
def test_k3_is_never_negative(logprobs: list[float], reference: float):
    assert (k3(torch.tensor(logprobs), torch.tensor(reference)) >= -1e-6).all()


def test_entropy_of_a_fair_choice():
    assert entropy(torch.full((1, 8), 1 / 8).log()).item() == pytest.approx(math.log(8))
