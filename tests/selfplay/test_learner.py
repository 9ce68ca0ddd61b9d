"""The learner: gradients that depend on nothing but the rows, and worlds small enough to know the answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_model
from torch import Tensor

from sparring.selfplay.batch import Row, collate, sft_row
from sparring.selfplay.learner import Learner, LearnerConfig, action_logits
from sparring.selfplay.objectives import token_logprobs

VOCABULARY = 60
CONFIG = LearnerConfig(lr=1e-2, kl=0.0, minibatch=8, grad_clip=1e9)


def model(kind: str = "llama"):
    return tiny_model(kind, vocab=VOCABULARY)


def policy_rows(of, n: int = 6, seed: int = 0, advantage: float | None = None) -> list[Row]:
    """Random streams of different lengths, with the log-probabilities that the model itself gives them."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        length = int(rng.integers(4, 20))
        ids = rng.integers(0, VOCABULARY, length)
        action = rng.random(length) < 0.6
        action[0], action[-1] = False, True
        value = rng.normal() if advantage is None else advantage
        advantages = np.where(action, value, 0).astype(np.float32)
        rows.append(Row(ids, action, np.zeros(length, np.float32), advantages, temperature=0.8, role="attacker"))
    with torch.no_grad():
        for i, row in enumerate(rows):
            batch = collate([row])
            logprobs, _ = token_logprobs(action_logits(of, batch), batch.targets, batch.temperature)
            stored = np.zeros(len(row.ids), np.float32)
            stored[row.action] = logprobs.numpy()
            rows[i] = replace(row, logprobs=stored)
    return rows


def equal(one: dict[str, Tensor], other: dict[str, Tensor], scale: float = 1.0) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[n] * scale, other[n], atol=1e-5, rtol=1e-4) for n in one)


@pytest.mark.parametrize("kind", ["llama", "untied", "gpt2", "qwen3"])
def test_logits_at_actions_are_the_models_own(kind: str):
    of = model(kind)
    rows = policy_rows(of)
    batch = collate(rows)
    with torch.no_grad():
        cut = action_logits(of, batch)
        whole = torch.cat([of(input_ids=torch.tensor(row.ids)[None]).logits[0, np.flatnonzero(row.action) - 1] for row in rows])
    assert torch.allclose(cut, whole, atol=1e-4)


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
def test_gradients_do_not_depend_on_micro_batches_or_order(aggregation: str):
    of = model()
    rows = policy_rows(of)
    grads = []
    for budget, order in ((10_000, rows), (1, rows), (40, rows[::-1])):
        config = replace(CONFIG, token_budget=budget, aggregation=aggregation)
        grads.append(Learner(of, config=config).gradients(order))
    assert any(g.abs().max() > 1e-4 for g in grads[0].values())
    assert equal(grads[0], grads[1])
    assert equal(grads[0], grads[2])


def test_no_advantage_no_gradient():
    of = model()
    found = Learner(of, config=CONFIG).gradients(policy_rows(of, advantage=0.0))
    assert all(g.abs().max() == 0 for g in found.values())


def test_the_gradient_of_the_first_step_is_that_of_reinforce():
    of = model()
    rows = policy_rows(of)
    found = Learner(of, config=CONFIG).gradients(rows)
    batch = collate(rows)
    logprobs, _ = token_logprobs(action_logits(of, batch), batch.targets, batch.temperature)
    loss = -(logprobs * batch.advantages).sum() / len(batch.targets)
    expected = dict(zip(found, torch.autograd.grad(loss, [p for n, p in of.named_parameters() if n in found]), strict=True))
    assert equal(found, expected)


def test_a_row_of_twice_the_weight_counts_as_two():
    of = model()
    rows = policy_rows(of, 2)
    twice = Learner(of, config=CONFIG).gradients([rows[0], replace(rows[1], weight=2.0)])
    single = [Learner(of, config=CONFIG).gradients([replace(row, weight=0.0), other]) for row, other in (rows, rows[::-1])]
    summed = {name: single[0][name] * 2 + single[1][name] for name in twice}
    assert equal(twice, summed)


def test_right_after_sampling_the_mismatch_is_nothing():
    of = model()
    metrics = Learner(of, config=CONFIG).update(policy_rows(of), seed=0)
    assert abs(metrics["mismatch_kl"]) < 1e-6
    assert metrics["clip_ratio/region_mean"] == 0
    assert metrics["steps"] == 1


def test_a_bandit_is_solved():
    """One token to choose after a prompt; token 7 pays."""
    of = model()
    learner = Learner(of, config=replace(CONFIG, lr=3e-3, minibatch=64))
    prompt = torch.tensor([[1, 2, 3]])
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        with torch.no_grad():
            logprobs = of(input_ids=prompt).logits[0, -1].log_softmax(-1)
        drawn = torch.multinomial(logprobs.exp(), 64, replacement=True, generator=generator)
        rows = []
        for token in drawn.tolist():
            ids, action = np.array([1, 2, 3, token]), np.array([False, False, False, True])
            stored = np.where(action, float(logprobs[token]), 0).astype(np.float32)
            reward = (token == 7) - float((drawn == 7).float().mean())
            rows.append(Row(ids, action, stored, np.where(action, reward, 0).astype(np.float32)))
        learner.update(rows, seed=step)
    with torch.no_grad():
        assert of(input_ids=prompt).logits[0, -1].softmax(-1)[7] > 0.9


def test_the_anchor_holds_the_model_back():
    losses = []
    for kl in (0.0, 10.0):
        of, anchor = model(), model()
        rows = policy_rows(of, 16)
        learner = Learner(of, anchor=anchor, config=replace(CONFIG, kl=kl, epochs=10, lr=1e-3))
        learner.update(rows, seed=0)
        with torch.no_grad():
            losses.append(sum(float((p - q).abs().sum()) for p, q in zip(of.parameters(), anchor.parameters(), strict=True)))
    assert losses[1] < losses[0] * 0.7


def test_imitation_learns_what_it_is_shown():
    of = model()
    rows = [sft_row([1, 2, 3, 4, 5], [False, False, True, True, True])] * 8
    learner = Learner(of, config=replace(CONFIG, epochs=30))
    metrics = learner.update(rows, seed=0)
    assert metrics["own_tokens"] == 8 * 3
    with torch.no_grad():
        assert of(input_ids=torch.tensor([[1, 2]])).logits[0, -1].argmax() == 3


def test_a_new_learning_rate_is_what_the_schedule_scales():
    rows = [sft_row([1, 2, 3], [False, True, True])] * 8
    rates = []
    for lr in (None, 0.001):
        learner = Learner(model(), config=replace(CONFIG, lr=0.01, schedule="linear", total_steps=4, minibatch=8))
        learner.update(rows, seed=0)
        if lr is not None:
            learner.set_learning_rate(lr)
        rates.append([learner.update(rows, seed=0)["learning_rate"] for _ in range(3)])
    assert rates[0] == pytest.approx([0.0075, 0.005, 0.0025])
    assert rates[1] == pytest.approx([0.00075, 0.0005, 0.00025])


def test_each_step_is_watched():
    seen: list[tuple[int, dict[str, float]]] = []
    of = model()
    learner = Learner(of, config=replace(CONFIG, minibatch=2, epochs=2))
    whole = learner.update(policy_rows(of, 6), seed=0, watch=lambda step, metrics: seen.append((step, metrics)))
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert whole["grad_norm"] == pytest.approx(sum(metrics["grad_norm"] for _, metrics in seen) / 6)
    assert [step for step, metrics in seen if "mismatch_kl" in metrics] == [1]
    assert whole["own_tokens"] == sum(metrics["own_tokens"] for _, metrics in seen), "tokens of one epoch"


def test_replay_is_weighed_and_counted_apart():
    of = model()
    rows, replay = policy_rows(of, advantage=0.0), [sft_row([1, 2, 3], [False, True, True])] * 4
    grads = [Learner(of, config=replace(CONFIG, replay_weight=w)).gradients(rows, replay) for w in (0.5, 1.0)]
    assert equal(grads[0], grads[1], scale=2.0)


def test_state_goes_on_where_it_was():
    def fresh():
        of = model()
        return of, Learner(of, config=replace(CONFIG, schedule="cosine", total_steps=10))

    of, learner = fresh()
    rows = policy_rows(of)
    for seed in range(4):
        learner.update(rows, seed=seed)
    half, first = fresh()
    for seed in range(2):
        first.update(rows, seed=seed)
    other = model()
    other.load_state_dict(half.state_dict())
    second = Learner(other, config=replace(CONFIG, schedule="cosine", total_steps=10))
    second.load_state_dict(first.state_dict())
    for seed in range(2, 4):
        second.update(rows, seed=seed)
    assert all(torch.equal(p, q) for p, q in zip(of.parameters(), other.parameters(), strict=True))


def test_bfloat16_weights_are_trained_in_float32_and_handed_back():
    of = model().to(torch.bfloat16)
    before = [p.clone() for p in of.parameters()]
    learner = Learner(of, config=replace(CONFIG, lr=1e-4))
    rows = [sft_row([1, 2, 3, 4, 5], [False, False, True, True, True])] * 8
    learner.update(rows, seed=0)
    assert all(torch.equal(p, q) for p, q in zip(of.parameters(), before, strict=True))
    learner.publish()
    assert all(p.dtype == torch.bfloat16 for p in of.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(of.parameters(), before, strict=True))
    assert all(p.dtype == torch.float32 for p in learner.model.parameters())
