"""The everyday test: right answers, honest scores, paired differences."""

import math
import random

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_tokenizer

from sparring.agents.models.language_model import LanguageModel
from sparring.benchmarks.reasoning.everyday import Item, baselines, choices, compare, evaluate, items, log_probabilities, score
from sparring.envs.views import Message
from sparring.envs.world.english import parse
from sparring.envs.world.facts import everyday, word_groups

WORLD = everyday()


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    tokenizer = tiny_tokenizer("chatml")
    return LanguageModel(tiny_model(vocab=len(tokenizer), length=512), tokenizer)


def test_equal_seeds_give_equal_tests():
    assert items(5, seed=1) == items(5, seed=1)
    assert items(5, seed=1) != items(5, seed=2)


def test_inference_items_list_exactly_the_words_that_fit_the_hints():
    found = [item for item in items(10) if item.task.startswith("inference-4")]
    assert len(found) == 30
    for item in found:
        hints = [act.fact for m in item.prompts[0] if m.role == "user" for act in parse(m.content)]
        named = {act.noun for prompt in item.prompts for act in parse(prompt[-1].content)}
        assert len(hints) == 4
        assert named == set(WORLD.nouns_with(*hints))
        assert item.cluster in named


def test_groups_keep_to_their_words():
    groups = word_groups()._asdict()
    for item in items(10):
        if item.task.startswith("inference"):
            assert item.cluster in groups[item.task.split("/")[1]]
        if item.task.startswith("heldout-words"):
            assert item.cluster in groups["heldout"]


def test_scores_are_the_models_log_probabilities(model: LanguageModel):
    chats = [
        (Message("user", "Is it red?"), Message("assistant", "No.")),
        (Message("user", "What is sour?"), Message("assistant", "I know the word! It is a lemon.")),
    ]
    found = log_probabilities(model, [(chats[0], 0), (chats[1], 0), (chats[1], len("I know the word! It is"))])
    expected = []
    for chat in chats:
        ids, loss_mask = model.format.conversation(chat)
        with torch.no_grad():
            whole = model.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        expected.append(sum(float(whole[i - 1, ids[i]]) for i, act in enumerate(loss_mask) if act))
    assert found[:2] == pytest.approx(expected, abs=1e-3)
    assert expected[1] < found[2] < 0


def test_a_choice_is_right_when_its_best_option_is(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    test = items(2)
    prompts = [prompt for item in test for prompt in item.prompts]
    perfect = [0.0 if i in item.right and item.choice else math.log(0.1) for item in test for i in range(len(item.prompts))]
    monkeypatch.setattr("sparring.benchmarks.reasoning.everyday.log_probabilities", lambda model, asked: np.array(perfect))
    assert len(perfect) == len(prompts)
    for item, got in zip(test, score(model, test), strict=True):
        assert got == pytest.approx(1.0 if item.choice else min(1.0, 0.1 * len(item.prompts)))


LEANING = {"heldout-words/bigger": "shortest", "heldout-words/both": "longest"}
"""Where the world itself, or the texts the base was trained on, make the length of an answer tell something."""


def test_the_length_of_an_option_tells_little_and_what_it_tells_is_a_baseline():
    found = baselines(choices(2000, random.Random(0), random.Random(1)))
    assert found["facts/recall"]["chance"] == 0.25
    assert found["heldout-formats/leave_out"]["chance"] == pytest.approx(1 / 3)
    for task, one in found.items():
        for name in ("shortest", "longest"):
            assert one[name] < one["chance"] + (0.1 if LEANING.get(task) == name else 0.04), (task, name)


def test_a_model_to_which_all_options_are_equal_is_right_by_chance(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    test = choices(400, random.Random(0), random.Random(1))
    monkeypatch.setattr("sparring.benchmarks.reasoning.everyday.log_probabilities", lambda model, asked: np.zeros(len(asked)))
    scores = score(model, test)
    for task, one in baselines(test).items():
        own = [s for s, item in zip(scores, test, strict=True) if item.task == task]
        assert abs(np.mean(own) - one["chance"]) < 0.08, task


def test_baselines_by_hand():
    def asked(right: int, *options: str) -> Item:
        return Item("t", tuple((Message("user", "?"), Message("assistant", option)) for option in options), 0, (right,), True, "w")

    found = baselines([asked(0, "Red.", "Green."), asked(1, "Blue.", "Red."), asked(1, "Pale.", "Dark.")])["t"]
    assert found == pytest.approx({"chance": 1 / 2, "majority": 2 / 3, "shortest": 2.5 / 3, "longest": 0.5 / 3})


def test_the_best_baseline_stands_beside_every_choice(model: LanguageModel):
    test = items(4)
    tasks = evaluate(model, per_task=4)["tasks"]
    for task, one in baselines(test).items():
        assert tasks[task]["baseline"] == max(one.values())
    assert {task for task, row in tasks.items() if "baseline" in row} == {item.task for item in test if item.choice}


def test_a_model_does_not_differ_from_itself(model: LanguageModel):
    result = evaluate(model, per_task=4)
    assert all(d["mean"] == 0 for d in compare(result, result).values())
    with pytest.raises(ValueError, match="different tests"):
        compare(result, {**result, "task_of": []})
