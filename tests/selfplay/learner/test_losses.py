"""Losses against numbers worked out by hand, and their gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparring.selfplay.learner.losses import (
    clipped_policy_loss,
    dpo_loss,
    entropy,
    exact_kl,
    ipo_loss,
    k3,
    kl_in_reward,
    sample_means,
    sample_sums,
    sampled_kl,
    sft_with_kl_loss,
    token_logprobs,
)


def test_token_logprobs_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    logprobs, whole = token_logprobs(logits, torch.tensor([1, 0]))
    assert logprobs.tolist() == pytest.approx([math.log(0.75), math.log(0.5)])
    assert whole.exp().sum(-1).tolist() == pytest.approx([1, 1])


def test_logits_are_divided_by_the_sampling_temperature():
    logits = torch.tensor([[0.0, math.log(9.0)]])
    logprobs, _ = token_logprobs(logits, torch.tensor([1]), torch.tensor([2.0]))
    assert logprobs.item() == pytest.approx(math.log(0.75))


def test_gradients_of_logits_are_never_denormal():
    logits = torch.tensor([[0.0, -60.0, -80.0, -90.0]], requires_grad=True)
    token_logprobs(logits * 1.0, torch.tensor([0]))[0].sum().backward()
    # Minus the probabilities exp(-60) and exp(-80); the last would be 8e-40, with which matrices are multiplied 30 times as slowly.
    assert logits.grad is not None
    assert logits.grad[0, 1:].tolist() == pytest.approx([-math.exp(-60), 0, 0], rel=1e-5, abs=0)


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


def test_what_a_model_rules_out_adds_nothing():
    logits = torch.tensor([[0.0, 0.0, -torch.inf]], requires_grad=True)
    whole, reference = logits.log_softmax(-1), torch.tensor([[0.75, 0.25, 0.0]]).log()
    assert entropy(whole).item() == pytest.approx(math.log(2))
    kl = exact_kl(whole, reference)
    assert kl.item() == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    kl.sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_entropy_of_a_fair_choice():
    assert entropy(torch.full((1, 8), 1 / 8).log()).item() == pytest.approx(math.log(8))


def test_a_kl_in_the_reward_by_hand():
    now, reference = torch.tensor([math.log(0.5)], requires_grad=True), torch.tensor([math.log(0.25)])
    found = kl_in_reward(torch.tensor([1.0]), now, reference, kl=0.2)
    assert found.item() == pytest.approx(1 - 0.2 * math.log(2))
    assert not found.requires_grad


def test_a_detached_kl_in_the_reward_has_the_gradient_of_the_kl():
    logits, q = torch.tensor([0.3, -0.2, 0.1]), torch.tensor([0.2, 0.5, 0.3])
    one = logits.clone().requires_grad_()
    exact_kl(one.log_softmax(-1)[None], q.log()[None]).sum().backward()
    other = logits.clone().requires_grad_()
    logprobs = other.log_softmax(-1)
    sampler = logprobs.detach()
    rewards = kl_in_reward(torch.zeros(3), logprobs, q.log(), kl=1.0)
    (sampler.exp() * clipped_policy_loss(logprobs, sampler, rewards, low=0.2, high=0.2)).sum().backward()
    assert one.grad is not None and other.grad is not None
    assert torch.allclose(one.grad, other.grad, atol=1e-6)


@pytest.mark.parametrize(("detach", "gradient"), [(True, -0.7), (False, -(0.7 - 0.2))])
def test_a_kl_that_is_not_detached_is_taken_off_the_reward(detach: bool, gradient: float):
    """At ratio 1: d/dl of -(r - kl (l - l_ref)) exp(l - l_ref) is -(r - kl), where -r was meant."""
    now = torch.tensor([-1.5], requires_grad=True)
    before = now.detach()
    advantages = kl_in_reward(torch.tensor([0.7]), now, before, kl=0.2, detach=detach)
    # NOTE: at ratio 1 both sides of the minimum are equal and torch halves the gradient between them; both have the same one.
    clipped_policy_loss(now, before, advantages, low=0.2, high=0.2).sum().backward()
    assert now.grad is not None
    assert now.grad.item() == pytest.approx(gradient)


def test_spags_imitation_by_hand():
    # l = log 0.5, l_ref = log 0.25: log 2 + 0.1 * 0.5 * log 2.
    found = sft_with_kl_loss(torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)]), kl=0.1)
    assert found.item() == pytest.approx(1.05 * math.log(2))


def test_preferences_by_hand():
    chosen, rejected = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 0.0])
    # sigmoid(0.1 * 3) = 0.57444; an undecided pair costs log 2.
    assert dpo_loss(chosen, rejected, beta=0.1).tolist() == pytest.approx([-math.log(0.574442517), math.log(2)])
    # (3 - 1 / 0.2)^2 and (0 - 5)^2.
    assert ipo_loss(chosen, rejected, beta=0.1).tolist() == pytest.approx([4, 25])


def test_dpo_pulls_at_both_rows_with_equal_force():
    chosen, rejected = torch.tensor([0.5], requires_grad=True), torch.tensor([0.2], requires_grad=True)
    dpo_loss(chosen, rejected, beta=0.5).sum().backward()
    # -beta sigmoid(-beta * 0.3): eq. 7's gradient.
    expected = -0.5 / (1 + math.exp(0.15))
    assert chosen.grad is not None and rejected.grad is not None
    assert (chosen.grad.item(), rejected.grad.item()) == pytest.approx((expected, -expected))


def test_ipo_is_content_at_its_margin():
    assert ipo_loss(torch.tensor([5.0]), torch.tensor([0.0]), beta=0.1).item() == pytest.approx(0)


def test_sums_and_means_of_rows():
    values, samples = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 2])
    assert sample_sums(values, samples, 3).tolist() == [1, 0, 5]
    assert sample_means(values, torch.tensor([0, 1, 1]), 2).tolist() == [1, 2.5]
