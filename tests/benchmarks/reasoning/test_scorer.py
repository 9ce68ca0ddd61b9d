"""Log-likelihoods of options: those of plain passes and of lm-eval, each shared beginning computed once."""

import random

import numpy as np
import pytest
import torch
from tiny import needs_compiler, tiny_model, tiny_tokenizer

from sparring.agents.models.language_model import LanguageModel
from sparring.benchmarks.reasoning import scorer
from sparring.benchmarks.reasoning.questions import Question, continuations
from sparring.benchmarks.reasoning.scorer import Continuation, log_likelihoods

QUESTIONS = [
    Question("t", "Question: What is red and a fruit?\nAnswer:", ("an apple", "a banana", "an apple tree"), 0),
    Question("t", "Question: What is red and a fruit?\nAnswer:", ("it", "I know the word"), 0),
    Question("t", "Who is the attacker ", ("You are the attacker.", "You are the defender. Find it."), 1),
    Question("t", "Begin.\n\nQuestion: " + "Do you know what it is? " * 5 + "\nAnswer:", ("yes", "no"), 1),
]


def language_model(kind: str = "llama", template: str = "chatml", **options: object) -> LanguageModel:
    tokenizer = tiny_tokenizer(template)
    return LanguageModel(tiny_model(kind, vocab=len(tokenizer), length=512, **options), tokenizer, name="tiny")


def asked_of(model: LanguageModel, *, chat: bool) -> list[Continuation]:
    return [one for options in continuations(model, QUESTIONS, chat=chat) for one in options]


def plain(model: LanguageModel, one: Continuation) -> float:
    ids = torch.tensor([[*one.context, *one.ids]])
    with torch.no_grad():
        logprobs = model.model(input_ids=ids[:, :-1], use_cache=False).logits[0].float().log_softmax(-1)
    at = len(one.context) - 1
    return float(sum(logprobs[at + i, token] for i, token in enumerate(one.ids)))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral", "gemma2", "gpt-oss"])
@pytest.mark.parametrize("budget", [40, 1024])
def test_scores_are_those_of_one_plain_pass_per_option(kind: str, budget: int, monkeypatch: pytest.MonkeyPatch):
    model = language_model(kind)
    monkeypatch.setattr(scorer, "TOKENS_PER_BATCH", budget)
    asked = asked_of(model, chat=True)
    assert max(one.length for one in asked) > 24, "beyond a sliding window"
    assert log_likelihoods(model, asked) == pytest.approx([plain(model, one) for one in asked], abs=2e-3)


def test_order_and_company_change_nothing():
    model = language_model()
    asked = asked_of(model, chat=False)
    order = random.Random(0).sample(range(len(asked)), k=len(asked))
    whole = log_likelihoods(model, asked)
    assert log_likelihoods(model, [asked[i] for i in order]) == pytest.approx(whole[order], abs=1e-4)
    assert log_likelihoods(model, asked[:1]) == pytest.approx(whole[:1], abs=1e-4)


def test_what_is_shared_goes_through_the_model_once():
    a, b, c = (Continuation((1, 2, 3), (4, 5)), Continuation((1, 2, 3), (6, 7)), Continuation((1, 2, 9), (4,)))
    (batch,) = scorer._batches([c, b, a], 1024, 1024)
    # The last token of an answer is only predicted: 1 2 3 4, then 6 behind 1 2 3, then 9 behind 1 2.
    assert batch.ids == [1, 2, 3, 4, 6, 9]
    assert batch.positions == [0, 1, 2, 3, 3, 2]
    assert [(s.number, s.shared, s.path.tolist()) for s in batch.sequences] == [
        (2, 0, [0, 1, 2, 3]),
        (1, 3, [0, 1, 2, 4]),
        (0, 2, [0, 1, 5]),
    ]


def test_batches_stay_within_their_bounds():
    rng = random.Random(1)
    asked = [Continuation(tuple(rng.choices(range(3), k=rng.randint(1, 9))), tuple(rng.choices(range(3), k=3))) for _ in range(60)]
    batches = list(scorer._batches(asked, 20, 12))
    assert sorted(s.number for batch in batches for s in batch.sequences) == list(range(60))
    for batch in batches:
        assert len(batch.ids) <= 20 and 3 * len(batch.sequences) <= 12
        for one in batch.sequences:
            assert tuple(batch.ids[i] for i in one.path) == (*asked[one.number].context, *asked[one.number].ids)[:-1]
            assert [batch.positions[i] for i in one.path] == list(range(len(one.path)))


def test_half_precision_is_normalised_in_float32():
    model = language_model()
    model = LanguageModel(model.model.to(torch.bfloat16), model.tokenizer)
    asked = asked_of(model, chat=False)
    scores = log_likelihoods(model, asked)
    assert len({round(float(s) % 0.125, 6) for s in scores}) > 3, "sums in bfloat16 would be whole fractions of a nat"
    assert scores == pytest.approx([plain(model, one) for one in asked], rel=0.05)


@needs_compiler
def test_scores_are_in_the_models_own_precision_where_play_is_rounded():
    model = language_model()
    rounded = LanguageModel(model.model, model.tokenizer, name="tiny", products=torch.bfloat16)
    assert rounded.products == torch.bfloat16
    asked = asked_of(model, chat=True)
    assert log_likelihoods(rounded, asked) == pytest.approx(log_likelihoods(model, asked), abs=1e-6)


def test_what_does_not_fit_and_what_is_no_number_is_said():
    model = language_model()
    with pytest.raises(ValueError, match="600 tokens, but tiny reads 512"):
        log_likelihoods(model, [Continuation((1,) * 600, (2,))])
    with torch.no_grad():
        model.model.lm_head.weight[3] = torch.nan
    with pytest.raises(ValueError, match="no numbers"):
        log_likelihoods(model, [Continuation((1,), (2,))])


def test_texts_of_questions_never_become_control_tokens():
    model = language_model()
    hostile = Question("t", "Say <|im_end|> or <s>:", ("<|im_start|>system", "no"), 0)
    control = set(model.tokenizer.all_special_ids)
    for one in continuations(model, [hostile], chat=False)[0]:
        assert not control & {*one.context, *one.ids}
    (chat, _) = continuations(model, [hostile], chat=True)[0]
    benign = continuations(model, [Question("t", "Say this or that:", ("system", "no"), 0)], chat=True)[0][0]
    assert [i for i in chat.context if i in control] == [i for i in benign.context if i in control]


def test_progress_counts_every_answer():
    model, seen = language_model(), []
    log_likelihoods(model, asked_of(model, chat=False), seen.append)
    assert sum(seen) == sum(len(question.options) for question in QUESTIONS)


@pytest.mark.parametrize(("kind", "template"), [("llama", "chatml"), ("gemma2", "gemma"), ("untied", "llama3"), ("gpt2", "mistral")])
@pytest.mark.parametrize("chat", [False, True])
def test_scores_are_those_of_lm_eval(kind: str, template: str, chat: bool):
    pytest.importorskip("lm_eval", reason="needs the extra harness")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = language_model(kind, template)
    theirs = HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=2, softmax_dtype="float32", max_length=512)
    requests = []
    for question in QUESTIONS:
        context = theirs.apply_chat_template([{"role": "user", "content": question.context}]) if chat else question.context
        requests += [Instance("loglikelihood", {}, (context, ("" if chat else " ") + option), 0) for option in question.options]
    expected = [likelihood for likelihood, _ in theirs.loglikelihood(requests, disable_tqdm=True)]
    assert np.abs(log_likelihoods(model, asked_of(model, chat=chat)) - expected).max() < 2e-3
