"""SPAG: a game worked by hand, its formulas on random numbers against the learner, and each correction by itself."""

import math
import random
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from handmade import LOSS, WIN, make_episode
from learners import learner_of
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.models.chat_format import ChatFormat
from sparring.envs.games.prompts import TABOO_BRIEF, taboo_paraphrases
from sparring.selfplay.config.config import LearnerConfig
from sparring.selfplay.learner.batch import Sample, sft_sample
from sparring.selfplay.learner.learner import Learner
from sparring.selfplay.learner.portions import whole_step
from sparring.selfplay.objectives.credit import Experience
from sparring.selfplay.objectives.policy_loss import PolicyLoss
from sparring.selfplay.objectives.returns import outcome_returns
from sparring.selfplay.objectives.spag import CORRECTED, PUBLISHED, Corrections, paraphrasing, published_split, winners_credit

VOCABULARY = 50
CONFIG = LearnerConfig(kl=0.2, kl_form="reward", grad_clip=1e9, aggregation="sequence")


def learner(model, corrections: Corrections, **changes) -> Learner:
    """As the method makes it."""
    loss = PolicyLoss(kl=0.2, kl_form="reward", unit="token" if corrections.token_ratio else "sample", detach_kl=corrections.detached_kl)
    split = whole_step if corrections.global_norm else published_split
    return learner_of(model, loss, config=replace(CONFIG, **changes), split=split)


def but_for(name: str) -> Corrections:
    return replace(CORRECTED, **{name: False})


def rows_of_game(corrections: Corrections, *said: str):
    games = [make_episode("a", *said)]
    chat = ChatFormat(tiny_tokenizer("chatml"))
    experience = Experience(games, paraphrase=paraphrasing(taboo_paraphrases(TABOO_BRIEF), chat))
    return winners_credit(corrections)(experience, outcome_returns(games), {})[0], chat


def test_a_game_worked_by_hand():
    """The defender wins by its third utterance: (1/0.8)^k for k = 1, 2, 3 is 1.25, 1.5625, 1.953125, in all 4.765625."""
    rewards = [1.25 / 4.765625, 1.5625 / 4.765625, 1.953125 / 4.765625]
    said = ["It is sour.", "Hm.", "It is yellow.", "A sun?", "It grows on trees.", WIN]
    whole, _ = rows_of_game(CORRECTED, *said)
    assert [sample.role for sample in whole] == ["defender"], "the loser is not trained"
    assert whole[0].advantages.tolist() == pytest.approx([0, rewards[0], rewards[0], 0, rewards[1], rewards[1], 0, rewards[2], rewards[2]])
    assert whole[0].weight == 1 / 2, "one game won, by one of two roles: N / (2 N_role)"
    parts, _ = rows_of_game(but_for("token_ratio"), *said)
    assert [len(sample.ids) for sample in parts] == [3, 6, 9], "a sample per utterance, its history repeated"
    assert [sample.loss_mask.tolist().index(True) for sample in parts] == [1, 4, 7]
    assert [sample.advantages[-1] for sample in parts] == pytest.approx(rewards)
    assert all(sample.sampler_logprobs[sample.loss_mask].tolist() == [-1, -1] for sample in parts)


def test_published_rows_are_told_anew_at_temperature_one():
    said = ["It is sour.", LOSS]
    found, chat = rows_of_game(PUBLISHED, *said)
    assert [sample.role for sample in found] == ["attacker"]
    assert found[0].temperature == 1.0
    text = chat.decode(found[0].ids.tolist())
    assert any(p.system["attacker"].format(word="lemon") in text for p in taboo_paraphrases(TABOO_BRIEF))
    assert chat.decode(found[0].ids[found[0].loss_mask].tolist()) == "It is sour."
    assert found[0].sampler_logprobs is None, "to be scored by the behaviour policy"


def test_what_is_told_anew_keeps_to_the_context():
    chat, paraphrases = ChatFormat(tiny_tokenizer("chatml")), taboo_paraphrases(TABOO_BRIEF)
    game = make_episode("a", "It is sour.", LOSS)
    ids, said = paraphrasing(paraphrases, chat)(game, "attacker", 0)
    assert paraphrasing(paraphrases, chat, 12)(game, "attacker", 0) == (ids[-12:], said[-12:])
    assert len(ids) > 12


def test_wordings_are_drawn_by_the_game_and_differ():
    chat = ChatFormat(tiny_tokenizer("chatml"))
    paraphrase = paraphrasing(taboo_paraphrases(TABOO_BRIEF), chat)
    games = [make_episode(f"{i}", "It is sour.", LOSS) for i in range(12)]
    games = [replace(p, match=replace(p.match, seed=i)) for i, p in enumerate(games)]
    told = [tuple(paraphrase(p, "attacker", 0)[0]) for p in games]
    assert told == [tuple(paraphrase(p, "attacker", 0)[0]) for p in games]
    assert len(set(told)) == 3


def test_roles_count_alike_however_seldom_they_win():
    games = [make_episode(f"{i:02}", "It is sour.", WIN) for i in range(19)] + [make_episode("z", "It is sour.", LOSS)]
    for corrections, weight in ((CORRECTED, 4.0), (but_for("capped_weights"), 10.0)):
        samples, _ = winners_credit(corrections)(Experience(games), outcome_returns(games), {})
        assert {sample.role: sample.weight for sample in samples} == {"defender": 20 / 38, "attacker": weight}


def random_samples(seed: int, n: int = 6) -> tuple[list[Sample], list[Sample]]:
    """Samples of utterances with rewards, weights and a reference's log-probabilities, and samples of sft_mix; all random."""
    rng = np.random.default_rng(seed)
    samples, sft_mix = [], []
    for i in range(2 * n):
        length = int(rng.integers(4, 14))
        start = int(rng.integers(1, length - 1))
        ids, loss_mask = rng.integers(0, VOCABULARY, length), np.arange(length) >= start
        if i % 2:
            sft_mix.append(sft_sample(ids.tolist(), loss_mask.tolist()))
            continue
        stored = np.where(loss_mask, rng.normal(-3.5, 0.6, length), 0).astype(np.float32)
        rewards = np.where(loss_mask, rng.random(), 0).astype(np.float32)
        samples.append(Sample(ids, loss_mask, None, rewards, float(rng.uniform(0.5, 3)), reference_logprobs=stored))
    return samples, sft_mix


def mean_logprob(model, sample: Sample) -> torch.Tensor:
    logits = model(input_ids=torch.tensor(sample.ids)[None]).logits[0, :-1]
    each = logits.log_softmax(-1).gather(1, torch.tensor(sample.ids[1:])[:, None])[:, 0]
    said = torch.tensor(sample.loss_mask[1:])
    return each[said].sum() / said.sum()


def published_loss(model, micro_batch: list[tuple[Sample, bool]]) -> torch.Tensor:
    """SPAG's loss of one micro-batch, written down from its formulas: utterances are (sample, False), sft_mix is (sample, True)."""
    policy, supervised = [], []
    for sample, mixed_in in micro_batch:
        l = mean_logprob(model, sample)  # noqa: E741  the paper's letter
        if mixed_in:
            supervised.append(-l)
            continue
        l_ref, reward = float(sample.reference_logprobs[sample.loss_mask].mean()), float(sample.advantages[sample.loss_mask][0])
        advantage = reward - 0.2 * (l - l_ref)
        rho = torch.exp(l - l_ref)
        policy.append(-sample.weight * torch.minimum(advantage * rho, advantage * torch.clip(rho, 0.8, 1.2)))
    parts = [weight * sum(of) / len(of) for weight, of in ((1.0, policy), (0.5, supervised)) if of]
    return sum(parts, torch.zeros(()))


@pytest.mark.parametrize("seed", range(12))
def test_the_published_gradient_is_that_of_the_formulas(seed: int):
    """Micro-batches of two are drawn as the learner draws them; all else is written anew."""
    model = tiny_model(vocab=VOCABULARY, seed=seed)
    samples, sft_mix = random_samples(seed)
    found = learner(model, PUBLISHED).gradients(samples, sft_mix)
    mixed = [(sample, False) for sample in samples] + [(sample, True) for sample in sft_mix]
    random.Random(0).shuffle(mixed)
    drawn = [entry for i in range(0, len(mixed), 2) for entry in sorted(mixed[i : i + 2], key=lambda entry: entry[1])]
    micro = [drawn[i : i + 2] for i in range(0, len(drawn), 2)]
    loss = sum(published_loss(model, m) for m in micro) / len(micro)
    expected = torch.autograd.grad(loss, [p for n, p in model.named_parameters() if n in found])
    for name, value in zip(found, expected, strict=True):
        assert torch.allclose(found[name], value, atol=2e-5, rtol=1e-3), name


def test_the_published_mix_depends_on_micro_batches_and_the_corrected_does_not():
    model = tiny_model(vocab=VOCABULARY)
    samples, sft_mix = random_samples(0)
    grads = []
    for steps in (0, 1):
        published = learner(model, PUBLISHED)
        published.steps = steps
        grads.append(published.gradients(samples, sft_mix))
    assert any(not torch.allclose(grads[0][n], grads[1][n], atol=1e-5) for n in grads[0])
    corrected = [
        learner(model, replace(PUBLISHED, global_norm=True), token_budget=budget).gradients(samples, sft_mix) for budget in (1, 10_000)
    ]
    assert all(torch.allclose(corrected[0][n], corrected[1][n], atol=1e-5, rtol=1e-4) for n in corrected[0])


def test_every_correction_is_a_switch_of_its_own():
    assert all(getattr(CORRECTED, f.name) for f in fields(Corrections))
    assert not any(getattr(PUBLISHED, f.name) for f in fields(Corrections))
    model = tiny_model(vocab=VOCABULARY)
    samples, sft_mix = random_samples(2)
    base = learner(model, CORRECTED).gradients(samples, sft_mix)
    for name in ("token_ratio", "detached_kl", "global_norm"):
        other = learner(model, but_for(name)).gradients(samples, sft_mix)
        assert any(not torch.allclose(base[n], other[n], atol=1e-5) for n in base), name
    said = ["It is sour.", "Hm.", "It is yellow.", WIN]
    plain, _ = rows_of_game(CORRECTED, *said)
    for name in ("sampler_reference", "original_prompts"):
        other, _ = rows_of_game(but_for(name), *said)
        assert not but_for(name).as_sampled
        assert (len(other) > len(plain)) == (name == "original_prompts")


def test_a_mean_over_the_utterance_is_no_importance_ratio():
    """Two tokens, one twice and one half as likely as before: the utterance's mean says that nothing has changed."""
    change = torch.tensor([math.log(2), -math.log(2)])
    assert change.mean().exp().item() == pytest.approx(1)
    assert change.exp().tolist() == pytest.approx([2, 0.5])
