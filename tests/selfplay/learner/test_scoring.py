"""Log-probabilities at actions: the model's own, in whatever portions they are computed, and never more logits at once than a chunk."""

import numpy as np
import pytest
import torch
from tiny import tiny_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertConfig, BertLMHeadModel, PhimoeConfig, PhimoeForCausalLM

from sparring.selfplay.learner.batch import Sample, collate, sft_sample
from sparring.selfplay.learner.losses import entropy, exact_kl, token_logprobs
from sparring.selfplay.learner.scoring import Scorer, require_faithful, scoring_difference

PLAIN = ["llama", "untied", "gpt2", "qwen3"]
SCALED = ["gemma2", "cohere", "granite"]
"""What these do to their logits after the head: soft-capping, scaling."""


def model(kind: str):
    caps = {"final_logit_softcapping": 0.5, "attn_logit_softcapping": 0.5} if kind == "gemma2" else {}
    return tiny_model(kind, vocab=60, **caps)


def samples(n: int = 5, seed: int = 0, vocab: int = 60) -> list[Sample]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        length = int(rng.integers(4, 20))
        loss_mask = rng.random(length) < 0.6
        loss_mask[0], loss_mask[-1] = False, True
        made.append(sft_sample(rng.integers(0, vocab, length).tolist(), loss_mask.tolist()))
    return made


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [*PLAIN, *SCALED])
def test_log_probabilities_at_actions_are_the_models_own(kind: str, packed: bool):
    of, made = model(kind), samples()
    scorer = Scorer(of)
    assert scorer.cuts
    batch = collate(made, packed=packed)
    with torch.no_grad(), scorer.attending(batch):
        found = scorer.score(batch).logprobs
    with torch.no_grad():
        alone = [of(input_ids=torch.tensor(sample.ids)[None]).logits[0].log_softmax(-1) for sample in made]
    whole = [
        float(logprobs[at - 1, sample.ids[at]])
        for sample, logprobs in zip(made, alone, strict=True)
        for at in np.flatnonzero(sample.loss_mask)
    ]
    assert found.tolist() == pytest.approx(whole, abs=1e-4)


def unchunked(of, batch, reference) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, entropies, KL from whole distributions: all logits of all tokens, then the actions' alone."""
    logprobs, whole = token_logprobs(of(input_ids=batch.ids).logits.flatten(0, 1)[batch.logit_index], batch.targets, batch.temperature)
    with torch.no_grad():
        other = reference(input_ids=batch.ids).logits.flatten(0, 1)[batch.logit_index]
    return logprobs, entropy(whole.detach()), exact_kl(whole, token_logprobs(other, batch.targets, batch.temperature)[1])


@pytest.mark.parametrize("kind", ["llama", *SCALED])
def test_chunks_change_neither_values_nor_gradients(kind: str):
    of, reference = model(kind), tiny_model(vocab=60, seed=1)
    batch = collate(samples())
    expected = unchunked(of, batch, reference)
    weights = torch.linspace(-1, 1, len(batch.targets))
    wanted = torch.autograd.grad((expected[0] * weights + expected[2]).sum(), list(of.parameters()))
    for chunk in (60, 7 * 60, 10**6):
        found = Scorer(of, chunk=chunk).score(batch, entropies=True, reference=Scorer(reference, chunk=chunk))
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, found, strict=True) if b is not None)
        assert found.kl is not None
        gradients = torch.autograd.grad((found.logprobs * weights + found.kl).sum(), list(of.parameters()))
        assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(wanted, gradients, strict=True))


class Largest(TorchDispatchMode):
    """Watches which tensors of a vocabulary's width are made, forward and backward: samples is the most of one."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary, self.samples = vocabulary, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for x in made if isinstance(made, tuple | list) else (made,):
            if isinstance(x, Tensor) and x.ndim >= 2 and x.shape[-1] == self.vocabulary:
                self.samples = max(self.samples, x.numel() // self.vocabulary)
        return made


@pytest.mark.parametrize("compared", [False, True])
def test_a_large_vocabularys_logits_never_exist_at_once(compared: bool):
    vocabulary, chunk = 5000, 20  # samples of logits; the head has 16
    of = tiny_model("llama", vocab=vocabulary, hidden_size=16)
    made = samples(16, vocab=vocabulary)
    actions = sum(sample.trained_tokens for sample in made)
    reference = Scorer(tiny_model("llama", vocab=vocabulary, hidden_size=16, seed=1)) if compared else None
    most = {}
    for name, size in (("chunks", chunk * vocabulary), ("whole", actions * vocabulary)):
        scorer = Scorer(of, chunk=size)
        if reference is not None:
            reference.chunk = scorer.chunk
        batch = collate(made, packed=True)
        with Largest(vocabulary) as seen, scorer.attending(batch):
            scores = scorer.score(batch, entropies=True, reference=reference)
            (scores.logprobs.sum() if scores.kl is None else scores.kl.sum()).backward()
        most[name] = seen.samples
    assert actions > 100
    assert most == {"chunks": chunk, "whole": actions}


def test_logits_are_not_kept_for_the_backward_pass():
    vocabulary, chunk = 5000, 8
    of = tiny_model("llama", vocab=vocabulary, hidden_size=16)
    batch = collate(samples(16, vocab=vocabulary))
    kept: list[int] = []
    scorer = Scorer(of, chunk=chunk * vocabulary)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(x.numel()), x)[1], lambda x: x):
        scorer.score(batch, entropies=True)
    of_parameters = {p.numel() for p in of.parameters()}
    assert max(n for n in kept if n not in of_parameters) < chunk * vocabulary


def test_a_model_that_is_not_body_and_head_is_scored_all_the_same():
    class Odd(type(model("llama"))):  # type: ignore[misc]
        """Its logits depend on the prompt's length, which a head alone does not know."""

        def forward(self, input_ids=None, **kwargs):
            output = super().forward(input_ids=input_ids, **kwargs)
            output.logits = output.logits * (1 + (input_ids > 0).sum())
            return output

    of = model("llama")
    of.__class__ = Odd
    scorer = Scorer(of, packs=False, chunk=60)
    assert not scorer.cuts
    batch = collate(samples(1))
    with torch.no_grad():
        expected = of(input_ids=batch.ids).logits[0][batch.logit_index].log_softmax(-1).gather(1, batch.targets[:, None])[:, 0]
        assert torch.allclose(scorer.score(batch).logprobs, expected, atol=1e-5)


def test_a_scorer_leaves_the_model_as_it_was():
    of = model("llama")
    batch = collate(samples(), packed=True)
    scorer = Scorer(of)
    with scorer.attending(batch):
        scorer.score(batch)
    assert of.config._attn_implementation == "sdpa"
    assert "forward" not in vars(of)
    assert "forward" not in vars(of.base_model)
    assert not of.base_model._forward_hooks


def phimoe():
    """Its layers keep their window in a mask alone, where no attention function hears of it."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    experts = {"num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 300}
    made = PhimoeForCausalLM(PhimoeConfig(**sizes, **experts)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8.0)
    return made


@pytest.mark.filterwarnings("ignore:samples of PhimoeForCausalLM cannot lie in one sequence")
def test_a_window_that_attention_does_not_hear_of_keeps_rows_apart():
    padded = Scorer(phimoe())
    assert not padded.packs and scoring_difference(padded).max() < 1e-5
    require_faithful(padded, "m")
    with pytest.raises(
        ValueError, match="m: PhimoeForCausalLM would be trained as another model: its log-probabilities in a batch are up to"
    ):
        require_faithful(Scorer(phimoe(), packs=True), "m")
    assert Scorer(model("mistral")).packs


@pytest.mark.filterwarnings("ignore:samples of BertLMHeadModel cannot lie in one sequence")
def test_a_model_that_looks_ahead_is_not_trained():
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    with pytest.raises(ValueError, match="m: BertLMHeadModel would be trained as another model"):
        require_faithful(Scorer(BertLMHeadModel(BertConfig(**sizes, initializer_range=0.3)).eval()), "m")


@pytest.mark.parametrize("kind", [*PLAIN, *SCALED, "mistral", "gpt-oss"])
def test_what_is_trained_is_the_model_that_transformers_runs(kind: str):
    for packs in (False, True):
        assert scoring_difference(Scorer(model(kind), packs=packs, chunk=7)).max() < 1e-5
