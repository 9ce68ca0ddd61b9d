"""The learner: gradients that depend on nothing but the samples, and worlds small enough to know the answer."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from handmade import LOSS, WIN, make_episode
from learners import learner_of, sampled_by
from tiny import tiny_model
from torch import Tensor

from sparring.selfplay.config.config import LearnerConfig, SFTMixConfig
from sparring.selfplay.learner import scoring
from sparring.selfplay.learner.batch import Pair, Sample, collate, samples_of, sft_sample
from sparring.selfplay.learner.losses import dpo_loss, ipo_loss, token_logprobs
from sparring.selfplay.learner.scoring import Scorer, with_behaviour, with_reference
from sparring.selfplay.objectives.credit import Credit, Experience, baseline_samples, group_samples, preference_pairs
from sparring.selfplay.objectives.preference_loss import PreferenceLoss
from sparring.selfplay.objectives.returns import Returns, outcome_returns
from sparring.selfplay.objectives.sft_loss import SFTLoss

VOCABULARY = 60
CONFIG = LearnerConfig(lr=1e-2, kl=0.0, minibatch=8, grad_clip=1e9)


def model(kind: str = "llama"):
    return tiny_model(kind, vocab=VOCABULARY)


def policy_samples(of, n: int = 6, seed: int = 0, advantage: float | None = None) -> list[Sample]:
    """Random streams of different lengths, with the log-probabilities that the model itself gives them."""
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(n):
        length = int(rng.integers(4, 20))
        ids = rng.integers(0, VOCABULARY, length)
        loss_mask = rng.random(length) < 0.6
        loss_mask[0], loss_mask[-1] = False, True
        value = rng.normal() if advantage is None else advantage
        advantages = np.where(loss_mask, value, 0).astype(np.float32)
        samples.append(Sample(ids, loss_mask, np.zeros(length, np.float32), advantages, temperature=0.8, role="attacker"))
    return sampled_by(of, samples)


def equal(one: dict[str, Tensor], other: dict[str, Tensor], scale: float = 1.0) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[n] * scale, other[n], atol=1e-5, rtol=1e-4) for n in one)


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant:64"])
def test_gradients_do_not_depend_on_micro_batches_or_order(aggregation: str):
    of = model()
    samples = policy_samples(of)
    grads = []
    for budget, order in ((10_000, samples), (1, samples), (40, samples[::-1])):
        config = replace(CONFIG, token_budget=budget, aggregation=aggregation)
        grads.append(learner_of(of, config=config).gradients(order))
    assert any(g.abs().max() > 1e-4 for g in grads[0].values())
    assert equal(grads[0], grads[1])
    assert equal(grads[0], grads[2])


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2"])
def test_gradients_do_not_depend_on_packing(kind: str):
    of, reference = model(kind), tiny_model(kind, vocab=VOCABULARY, seed=1)
    samples = policy_samples(of, 9)
    for sample in samples[::2]:
        sample.ids[:4] = samples[0].ids[:4]
    config = replace(CONFIG, kl=0.5)
    padded = learner_of(of, reference=reference, config=config)
    padded.scorer.packs = padded.reference.packs = False
    expected = padded.gradients(samples)
    assert any(g.abs().max() > 1e-4 for g in expected.values())
    for budget, order in ((10_000, samples), (1, samples[::-1]), (45, samples[::2] + samples[1::2])):
        packed = learner_of(of, reference=reference, config=replace(config, token_budget=budget))
        assert packed.scorer.packs and packed.scorer.shares
        assert equal(packed.gradients(order), expected)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral", "adapter"])
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of peft, when it makes adapters
def test_gradients_do_not_depend_on_what_is_computed_again(kind: str):
    config = replace(CONFIG, kl=0.5, lora_rank=4 if kind == "adapter" else 0, token_budget=50)
    found, kept = [], []
    for again in (False, True):
        of, reference = (tiny_model("llama" if kind == "adapter" else kind, vocab=VOCABULARY, seed=seed) for seed in (0, 1))
        learner = learner_of(of, reference=reference, config=replace(config, gradient_checkpointing=again))
        numbers: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, numbers=numbers: (numbers.append(x.numel()), x)[1], lambda x: x):
            found.append(learner.gradients(policy_samples(of, 9)))
        kept.append(sum(numbers))
        assert not of.training, "dropout stays off"
    assert any(g.abs().max() > 1e-4 for g in found[0].values())
    assert equal(*found)
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize("form", ["sampled", "reward"])
def test_the_reference_is_asked_once_for_all_steps(form: str):
    of, reference = model(), tiny_model(vocab=VOCABULARY, seed=1)
    learner = learner_of(of, reference=reference, config=replace(CONFIG, kl=0.5, kl_form=form, minibatch=3, epochs=4))
    tokens: list[int] = []
    reference.register_forward_pre_hook(lambda _, args, kwargs: tokens.append(len(args)), with_kwargs=True)
    samples = policy_samples(of)
    assert learner.update(samples, seed=0)["steps"] == 8
    assert len(tokens) == 1


def pairs(reference, n: int = 5) -> list[Pair]:
    """Random pairs of different lengths with a reference's log-probabilities."""
    samples = policy_samples(reference, 2 * n, seed=3)
    return with_reference(Scorer(reference), [Pair(a, b) for a, b in zip(samples[0::2], samples[1::2], strict=True)], 1)


@pytest.mark.parametrize("form", [dpo_loss, ipo_loss])
def test_gradients_of_pairs_do_not_depend_on_micro_batches_or_order(form: Callable[..., Tensor]):
    of, loss = model(), PreferenceLoss(form, beta=0.3)
    made = pairs(tiny_model(vocab=VOCABULARY, seed=1))
    cases = ((10_000, made), (1, made), (60, made[::-1]))
    grads = [learner_of(of, loss, config=replace(CONFIG, token_budget=b)).gradients(e) for b, e in cases]
    assert any(g.abs().max() > 1e-4 for g in grads[0].values())
    assert equal(grads[0], grads[1])
    assert equal(grads[0], grads[2])


def test_the_loss_of_pairs_is_the_papers():
    of, reference = model(), tiny_model(vocab=VOCABULARY, seed=1)
    made = pairs(reference, 3)
    found = learner_of(of, PreferenceLoss(beta=0.3), config=CONFIG).gradients(made)

    def summed(m, sample: Sample) -> Tensor:
        logits = m(input_ids=torch.tensor(sample.ids)[None]).logits[0] / sample.temperature
        return sum(logits[i - 1].log_softmax(-1)[sample.ids[i]] for i in np.flatnonzero(sample.loss_mask))

    loss = torch.zeros(())
    for pair in made:
        margin = sum(
            sign * (summed(of, sample) - summed(reference, sample).detach()) for sign, sample in ((1, pair.chosen), (-1, pair.rejected))
        )
        loss = loss - (0.3 * margin).sigmoid().log() / len(made)
    expected = dict(zip(found, torch.autograd.grad(loss, [p for n, p in of.named_parameters() if n in found]), strict=True))
    assert equal(found, expected)


def test_swapped_pairs_have_the_opposite_gradient_where_nothing_is_decided():
    of = model()
    made = pairs(of)
    one = learner_of(of, PreferenceLoss(), config=CONFIG).gradients(made)
    other = learner_of(of, PreferenceLoss(), config=CONFIG).gradients([replace(p, chosen=p.rejected, rejected=p.chosen) for p in made])
    assert equal(one, other, scale=-1.0)


def test_pairs_stay_together_and_are_learnt():
    of = model()
    made = pairs(of, 7)
    learner = learner_of(of, PreferenceLoss(), config=replace(CONFIG, lr=1e-3, minibatch=3, epochs=10, token_budget=30))
    metrics = learner.update(made, seed=0)
    assert metrics["steps"] == 2 * 10, "seven pairs in parts of three: the last one joins"
    assert metrics["rewards/accuracies"] > 0.8
    assert metrics["rewards/margins"] == pytest.approx(metrics["rewards/chosen"] - metrics["rewards/rejected"], rel=1e-3)
    assert metrics["trained_tokens"] == sum(sample.trained_tokens for sample in samples_of(made))
    assert "sampling/importance_sampling_ratio/max" not in metrics, "there was no ratio"


def test_the_entropy_of_pairs_is_that_of_their_rows():
    of = model()
    made = pairs(of, 3)
    samples = samples_of(made)
    found = learner_of(of, PreferenceLoss(), config=CONFIG).update(made, seed=0)
    assert found["entropy"] == pytest.approx(learner_of(model(), config=CONFIG).update(samples, seed=0)["entropy"], rel=1e-5)


def test_a_reference_is_computed_in_the_order_of_its_rows():
    of = model()
    samples = policy_samples(of)
    for budget in (1, 50, 10_000):
        made = with_reference(Scorer(of), [Pair(samples[0], samples[1]), *samples[2:]], budget)
        assert all(np.allclose(a.reference_logprobs, b.sampler_logprobs, atol=1e-5) for a, b in zip(samples_of(made), samples, strict=True))


@pytest.mark.parametrize("form", ["auto", "exact", "sampled", "reward"])
def test_forms_of_the_kl_are_all_nothing_at_the_reference_itself(form: str):
    of = model()
    config = replace(CONFIG, kl=1.0, kl_form=form)
    found = learner_of(of, reference=model(), config=config).gradients(policy_samples(of, advantage=0.0))
    assert all(g.abs().max() < 1e-5 for g in found.values())


def test_forms_of_the_kl_agree_in_expectation():
    """One token to choose, every choice once, weighed by its probability: the sums are expectations."""
    of, reference = model(), tiny_model(vocab=VOCABULARY, seed=1)
    with torch.no_grad():
        logprobs = of(input_ids=torch.tensor([[1, 2]])).logits[0, -1].log_softmax(-1)
    loss_mask = np.array([False, False, True])
    samples = [
        Sample(np.array([1, 2, token]), loss_mask, np.array([0, 0, float(p)], np.float32), np.zeros(3, np.float32), weight=float(p.exp()))
        for token, p in enumerate(logprobs)
    ]
    found = [
        learner_of(of, reference=reference, config=replace(CONFIG, kl=1.0, kl_form=form)).gradients(samples)
        for form in ("exact", "sampled", "reward")
    ]
    assert any(g.abs().max() > 1e-5 for g in found[0].values())
    assert equal(found[0], found[1])
    assert equal(found[0], found[2])


def test_the_model_that_played_needs_no_second_model():
    of = model()
    samples = policy_samples(of)
    config = replace(CONFIG, kl=0.5, kl_form="reward")
    later = tiny_model(vocab=VOCABULARY, seed=2)
    with_copy = learner_of(later, reference=of, config=config).gradients(samples)
    assert equal(learner_of(later, config=config).gradients(with_behaviour(samples)), with_copy)
    assert not equal(learner_of(later, config=config).gradients(samples), with_copy), "without a reference there is no penalty"


def test_every_round_begins_its_schedule_anew():
    samples = [sft_sample([1, 2, 3], [False, True, True])] * 8
    learner = learner_of(model(), SFTLoss(), config=replace(CONFIG, lr=0.01, minibatch=2, schedule="linear"), per_round=True)
    for _ in range(2):
        rates: list[float] = []
        learner.update(samples, seed=0, watch=lambda _, metrics, rates=rates: rates.append(metrics["learning_rate"]))
        assert rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025])


def test_roles_are_learnt_from_alike():
    """Data with the roles swapped give the gradients of the other role: nothing but the samples counts."""
    of = model()
    samples = [replace(sample, role=("attacker", "defender")[i % 2]) for i, sample in enumerate(policy_samples(of))]
    swapped = [replace(sample, role=("defender", "attacker")[i % 2]) for i, sample in enumerate(samples)]
    one, other = learner_of(of, config=CONFIG), learner_of(of, config=CONFIG)
    assert equal(one.gradients(samples), other.gradients(swapped))
    metrics = [learner_of(model(), config=CONFIG).update(r, seed=0) for r in (samples, swapped)]
    assert metrics[0]["attacker/policy_loss"] == pytest.approx(metrics[1]["defender/policy_loss"])


@pytest.mark.parametrize("credit", [group_samples, baseline_samples, preference_pairs])
def test_swapped_returns_have_the_opposite_gradient_in_each_role(credit: Credit):
    """A zero-sum game in which the other side has won teaches each role the opposite, through advantages, samples and losses."""
    of = model()
    games = [
        make_episode("a", "It is sour.", WIN),
        make_episode("b", "It is sour.", "Hm.", "It is yellow.", LOSS),
        make_episode("c", "It is big.", WIN),
    ]
    returns = outcome_returns(games)
    other = {id: {"attacker": won["defender"], "defender": won["attacker"]} for id, won in returns.items()}

    def gradient(role: str, given: Returns) -> dict[str, Tensor]:
        made = credit(Experience(games, roles=(role,)), given, {})[0]
        spoken = with_reference(Scorer(of), [_spoken(e, role) for e in made], 100)
        return learner_of(of, PreferenceLoss() if credit is preference_pairs else None, config=CONFIG).gradients(spoken)

    for role in ("attacker", "defender"):
        found = gradient(role, returns)
        assert any(g.abs().max() > 1e-3 for g in found.values())
        assert equal(found, gradient(role, other), scale=-1.0)
    assert not equal(gradient("attacker", returns), gradient("defender", other)), "each by its own words"


def _spoken(example: Sample | Pair, role: str) -> Sample | Pair:
    """With the words of a role, one game's like another's."""
    if isinstance(example, Pair):
        return replace(example, **{side: _spoken(getattr(example, side), role) for side in ("chosen", "rejected")})
    return replace(example, ids=example.ids * (7 if role == "attacker" else 11) % VOCABULARY, sampler_logprobs=None)


def test_no_advantage_no_gradient():
    of = model()
    found = learner_of(of, config=CONFIG).gradients(policy_samples(of, advantage=0.0))
    assert all(g.abs().max() == 0 for g in found.values())


def test_the_gradient_of_the_first_step_is_that_of_reinforce():
    of = model()
    samples = policy_samples(of)
    found = learner_of(of, config=CONFIG).gradients(samples)
    batch = collate(samples)
    loss = -(Scorer(of).score(batch).logprobs * batch.advantages).sum() / len(batch.targets)
    expected = dict(zip(found, torch.autograd.grad(loss, [p for n, p in of.named_parameters() if n in found]), strict=True))
    assert equal(found, expected)


def test_a_row_of_twice_the_weight_counts_as_two():
    of = model()
    samples = policy_samples(of, 2)
    twice = learner_of(of, config=CONFIG).gradients([samples[0], replace(samples[1], weight=2.0)])
    single = [learner_of(of, config=CONFIG).gradients([replace(sample, weight=0.0), other]) for sample, other in (samples, samples[::-1])]
    summed = {name: single[0][name] * 2 + single[1][name] for name in twice}
    assert equal(twice, summed)


def test_right_after_sampling_the_mismatch_is_nothing():
    of = model()
    metrics = learner_of(of, config=CONFIG).update(policy_samples(of), seed=0)
    assert abs(metrics["mismatch_kl"]) < 1e-6
    assert metrics["clip_ratio/region_mean"] == 0
    assert metrics["steps"] == 1


def test_a_bandit_is_solved():
    """One token to choose after a prompt; token 7 pays."""
    of = model()
    learner = learner_of(of, config=replace(CONFIG, lr=3e-3, minibatch=64))
    prompt = torch.tensor([[1, 2, 3]])
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        with torch.no_grad():
            logprobs = of(input_ids=prompt).logits[0, -1].log_softmax(-1)
        drawn = torch.multinomial(logprobs.exp(), 64, replacement=True, generator=generator)
        samples = []
        for token in drawn.tolist():
            ids, loss_mask = np.array([1, 2, 3, token]), np.array([False, False, False, True])
            stored = np.where(loss_mask, float(logprobs[token]), 0).astype(np.float32)
            reward = (token == 7) - float((drawn == 7).float().mean())
            samples.append(Sample(ids, loss_mask, stored, np.where(loss_mask, reward, 0).astype(np.float32)))
        learner.update(samples, seed=step)
    with torch.no_grad():
        assert of(input_ids=prompt).logits[0, -1].softmax(-1)[7] > 0.9


def test_a_game_of_three_states_is_solved():
    """Left or right, then left or right again: 5 is left, 6 is right. Left at once ends with 0.3; right leads on to a second choice, where
    left ends with 0 and right with 1. The best is to go right twice, though at first left pays more than right."""
    of = tiny_model(vocab=8)
    learner = learner_of(of, config=replace(CONFIG, lr=3e-3, minibatch=128))
    rng = np.random.default_rng(0)

    def choices(prompt: list[int]) -> Tensor:
        with torch.no_grad():
            return of(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1)

    for step in range(60):
        first, second = choices([1]), choices([1, 6, 2])
        samples, returns = [], []
        for _ in range(64):
            one = int(rng.choice(8, p=first.exp().double().numpy() / first.exp().double().sum().item()))
            ids, logprobs, reward = [1, one], [0.0, float(first[one])], 0.3 * (one == 5)
            if one == 6:
                two = int(rng.choice(8, p=second.exp().double().numpy() / second.exp().double().sum().item()))
                ids, logprobs, reward = [1, 6, 2, two], [0.0, float(first[6]), 0.0, float(second[two])], float(two == 6)
            loss_mask = np.array([False, True, False, True][: len(ids)])
            samples.append(Sample(np.array(ids), loss_mask, np.array(logprobs, np.float32), loss_mask.astype(np.float32)))
            returns.append(reward)
        mean = float(np.mean(returns))
        learner.update(
            [replace(sample, advantages=sample.advantages * (r - mean)) for sample, r in zip(samples, returns, strict=True)], seed=step
        )
    assert choices([1]).exp()[6] > 0.9
    assert choices([1, 6, 2]).exp()[6] > 0.9


@pytest.mark.parametrize("form", [dpo_loss, ipo_loss])
def test_preferences_over_a_bandits_arms_are_learnt(form: Callable[..., Tensor]):
    """Of two arms the larger token is preferred; the optimum of DPO and IPO puts the largest one first."""
    of = tiny_model(vocab=6)
    loss_mask = np.array([False, True])

    def sample(token: int) -> Sample:
        return Sample(np.array([1, token]), loss_mask, np.zeros(2, np.float32), np.zeros(2, np.float32))

    made = with_reference(Scorer(of), [Pair(sample(a), sample(b)) for a in range(6) for b in range(a)], 10_000)
    learner = learner_of(of, PreferenceLoss(form, beta=0.2), config=replace(CONFIG, lr=3e-3, minibatch=15, epochs=60))
    assert learner.update(made, seed=0)["steps"] == 60
    with torch.no_grad():
        assert of(input_ids=torch.tensor([[1]])).logits[0, -1].argsort().tolist() == list(range(6))


def test_the_reference_holds_the_model_back():
    losses = []
    for kl in (0.0, 10.0):
        of, reference = model(), model()
        samples = policy_samples(of, 16)
        learner = learner_of(of, reference=reference, config=replace(CONFIG, kl=kl, epochs=10, lr=1e-3))
        learner.update(samples, seed=0)
        with torch.no_grad():
            losses.append(sum(float((p - q).abs().sum()) for p, q in zip(of.parameters(), reference.parameters(), strict=True)))
    assert losses[1] < losses[0] * 0.7


def test_imitation_learns_what_it_is_shown():
    of = model()
    samples = [sft_sample([1, 2, 3, 4, 5], [False, False, True, True, True])] * 8
    learner = learner_of(of, SFTLoss(), config=replace(CONFIG, epochs=30))
    metrics = learner.update(samples, seed=0)
    assert metrics["trained_tokens"] == 8 * 3
    with torch.no_grad():
        assert of(input_ids=torch.tensor([[1, 2]])).logits[0, -1].argmax() == 3


def test_a_new_learning_rate_is_what_the_schedule_scales():
    samples = [sft_sample([1, 2, 3], [False, True, True])] * 8
    rates = []
    for lr in (None, 0.001):
        learner = learner_of(model(), SFTLoss(), config=replace(CONFIG, lr=0.01, schedule="linear", minibatch=8), total_steps=4)
        learner.update(samples, seed=0)
        if lr is not None:
            learner.set_learning_rate(lr)
        rates.append([learner.update(samples, seed=0)["learning_rate"] for _ in range(3)])
    assert rates[0] == pytest.approx([0.0075, 0.005, 0.0025])
    assert rates[1] == pytest.approx([0.00075, 0.0005, 0.00025])


def test_each_step_is_watched():
    seen: list[tuple[int, dict[str, float]]] = []
    of = model()
    learner = learner_of(of, config=replace(CONFIG, minibatch=2, epochs=2))
    whole = learner.update(policy_samples(of, 6), seed=0, watch=lambda step, metrics: seen.append((step, metrics)))
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert whole["grad_norm"] == pytest.approx(sum(metrics["grad_norm"] for _, metrics in seen) / 6)
    assert [step for step, metrics in seen if "mismatch_kl" in metrics] == [1]
    assert whole["trained_tokens"] == sum(metrics["trained_tokens"] for _, metrics in seen), "tokens of one epoch"


def test_replay_is_weighed_and_counted_apart():
    of = model()
    samples, sft_mix = policy_samples(of, advantage=0.0), [sft_sample([1, 2, 3], [False, True, True])] * 4
    grads = [learner_of(of, config=CONFIG, mix=SFTMixConfig(weight=w)).gradients(samples, sft_mix) for w in (0.5, 1.0)]
    assert equal(grads[0], grads[1], scale=2.0)


def test_state_goes_on_where_it_was():
    def fresh():
        of = model()
        return of, learner_of(of, config=replace(CONFIG, schedule="cosine"), total_steps=10)

    of, learner = fresh()
    samples = policy_samples(of)
    for seed in range(4):
        learner.update(samples, seed=seed)
    half, first = fresh()
    for seed in range(2):
        first.update(samples, seed=seed)
    other = model()
    other.load_state_dict(half.state_dict())
    second = learner_of(other, config=replace(CONFIG, schedule="cosine"), total_steps=10)
    second.load_state_dict(first.state_dict())
    for seed in range(2, 4):
        second.update(samples, seed=seed)
    assert all(torch.equal(p, q) for p, q in zip(of.parameters(), other.parameters(), strict=True))


def test_bfloat16_weights_are_trained_in_float32_and_handed_back():
    of = model().to(torch.bfloat16)
    before = [p.clone() for p in of.parameters()]
    learner = learner_of(of, SFTLoss(), config=replace(CONFIG, lr=1e-4))
    samples = [sft_sample([1, 2, 3, 4, 5], [False, False, True, True, True])] * 8
    learner.update(samples, seed=0)
    assert all(torch.equal(p, q) for p, q in zip(of.parameters(), before, strict=True))
    learner.sync_weights()
    assert all(p.dtype == torch.bfloat16 for p in of.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(of.parameters(), before, strict=True))
    assert all(p.dtype == torch.float32 for p in learner.model.parameters())


def test_models_of_one_process_are_trained_each_in_its_own_precision(monkeypatch: pytest.MonkeyPatch):
    of = model()
    samples = policy_samples(of)
    alone = learner_of(of, config=CONFIG).gradients(samples)
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})  # a process in which nothing has been trained yet
    earlier = Accelerator(mixed_precision="bf16", cpu=True)  # as of a model in bfloat16 on a GPU
    learner = learner_of(of, config=CONFIG)
    assert (earlier.mixed_precision, learner.accelerator.mixed_precision) == ("bf16", "no")
    assert all(torch.equal(alone[name], gradient) for name, gradient in learner.gradients(samples).items())


def test_products_in_bfloat16_leave_weights_optimiser_and_logits_in_float32():
    of, samples = tiny_model(vocab=VOCABULARY, hidden_size=64, head_dim=16), policy_samples(model(), 9)
    exact = learner_of(of, config=CONFIG).gradients(samples)
    learner = learner_of(of, config=CONFIG, products=torch.bfloat16)
    rounded = learner.gradients(samples)
    apart = {name: float((rounded[name] - exact[name]).norm() / exact[name].norm()) for name in exact}
    assert 1e-4 < max(apart.values()) < 0.1, "the gradient is rounded, and not much"
    learner.update(samples, seed=0)
    assert {p.dtype for p in of.parameters()} == {torch.float32}
    assert {x.dtype for state in learner.optimizer.state.values() for x in state.values()} == {torch.float32}


def test_logits_of_a_rounded_pass_are_not_rounded(monkeypatch: pytest.MonkeyPatch):
    seen: list[Tensor] = []
    monkeypatch.setattr(scoring, "token_logprobs", lambda logits, *rest: (seen.append(logits), token_logprobs(logits, *rest))[1])
    of = model()
    samples = policy_samples(of)
    learner_of(of, config=CONFIG, products=torch.bfloat16).gradients(samples)
    logits = seen[-1]
    assert logits.dtype == torch.float32
    assert (logits.bfloat16().float() != logits).float().mean() > 0.9


def test_a_rounded_learner_compares_with_itself_and_weighs_by_the_sampler():
    of = model()
    samples = [replace(s, sampler_logprobs=s.sampler_logprobs - np.float32(0.1) * s.loss_mask) for s in policy_samples(of)]
    learner = learner_of(of, config=CONFIG, products=torch.bfloat16)
    old = learner.with_old_logprobs(samples)
    metrics = learner.update(old, seed=0)
    assert metrics["sampling/importance_sampling_ratio/max"] == pytest.approx(1, abs=1e-5), "of the only step"
    # exp(0.1) - 1 - 0.1, up to the rounding of a tiny model's log-probabilities.
    assert metrics["mismatch_kl"] == pytest.approx(0.00517, abs=2e-3)
    assert metrics["sampling/sampling_logp_difference/mean"] == pytest.approx(0.1, abs=0.02)
    assert metrics["sampling/importance_weight/capped"] == 0
    exact = learner_of(of, config=CONFIG)
    assert exact.with_old_logprobs(samples) == samples, "in float32 the sampler's numbers are the learner's own"
