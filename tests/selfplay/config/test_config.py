"""What a configuration refuses, before anything is loaded: each limit at its edge, and all that is wrong in one message."""

from dataclasses import replace
from typing import Any

import pytest

from sparring.selfplay.config.config import EvaluationConfig, LearnerConfig, SFTConfig, TrainConfig
from sparring.selfplay.config.presets import PRESETS, preset

PARTS = {"learner": LearnerConfig, "sft": SFTConfig, "evaluation": EvaluationConfig}


def made(name: str, value: Any, **others: Any) -> TrainConfig:
    """A configuration with one setting, by its dotted name."""
    part, dot, field = name.rpartition(".")
    return TrainConfig(**({part: PARTS[part](**{field: value})} if dot else {field: value}), **others)


@pytest.mark.parametrize(
    ("name", "allowed", "refused", "said"),
    [
        ("temperature", 0.01, 0.0, "above 0"),
        ("heldout", 0.0, 1.0, r"in \[0, 1\)"),
        ("sft.replay_share", 0.99, -0.1, r"in \[0, 1\)"),
        ("rounds", 0, -1, "cannot be negative"),
        ("keep_checkpoints", 0, -1, "cannot be negative"),
        ("evaluation.games", 0, -1, "cannot be negative"),
        ("max_turns", 1, 0, "at least 1"),
        ("max_new_tokens", 1, 0, "at least 1"),
        ("concurrency", 1, 0, "at least 1"),
        ("evaluation.every", 1, 0, "at least 1"),
        ("evaluation.temperature", 0.0, -0.1, "cannot be negative"),
        ("max_memory", 0.0, 1e300, "max_memory"),
        ("learner.epochs", 1, 0, "at least 1"),
        ("learner.lr", 0.0, -1e-9, "cannot be negative"),
        ("learner.kl", 0.0, float("nan"), "finite"),
        ("learner.betas", (0.0, 0.999), (0.9, 1.0), r"in \[0, 1\)"),
        ("learner.grad_clip", 1e-9, 0.0, "above 0"),
        ("learner.beta", 1e-9, 0.0, "above 0"),
        ("learner.lora_rank", 0, -1, "cannot be negative"),
        ("rule", "family", "lema", "did you mean 'lemma'"),
        ("game", "AdversarialTaboo", "Taboo", "unknown game"),
        ("drop_reasons", ("foul",), ("fowl",), "did you mean 'foul'"),
    ],
)
def test_each_limit_at_its_edge(name: str, allowed: Any, refused: Any, said: str):
    assert made(name, allowed)
    with pytest.raises(ValueError, match=said) as error:
        made(name, refused)
    assert name.rpartition(".")[2] in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"games_per_round": 12, "group_size": 8}, "multiple of group_size"),
        ({"learner": LearnerConfig(schedule="cosine")}, "needs learner.total_steps"),
        ({"learner": LearnerConfig(four_bit=True)}, "needs learner.lora_rank"),
        ({"learner": LearnerConfig(reference="behaviour", kl_form="exact")}, "whole distributions"),
        ({"words": "common", "sft": SFTConfig(steps=1)}, "everyday world only"),
        ({"role": "defender"}, "needs an opponent"),
        ({"opponent": "scripted"}, "plays against one role"),
        ({"game": "TwentyQuestions"}, "evaluation.scripted needs scripted experts"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        TrainConfig(**changes)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ValueError, match=r"temperature.*rounds.*learner\.epochs"):
        TrainConfig(temperature=0.0, rounds=-1, learner=LearnerConfig(epochs=0))


def test_presets_are_fitted_to_other_models():
    for name in PRESETS:
        fitted = preset(name, "./mine", everyday=False)
        assert (fitted.words, fitted.replay, fitted.sft.steps) == ("common", "none", 0)
        assert fitted.learner.lr == (2e-6 if name.startswith("spag") else 1e-6)
        assert preset(name, "mini") == replace(PRESETS[name], preset=name, model="mini")


def test_small_language_models_are_shown_the_game_first():
    fitted = preset("quick", "./mine", everyday=False, parameters=134_515_008)
    assert (fitted.words, fitted.prompts, fitted.replay, fitted.sft.experts) == ("everyday", "brief", "experts", "clear")
    assert fitted.sft.steps > 0 and fitted.evaluation.gate == 128 and fitted.max_new_tokens < 256
    known = preset("quick", "runs/x@3", everyday=False, parameters=134_515_008, plays=True)
    assert (known.sft.steps, known.prompts) == (0, "card")
    large = preset("quick", "./mine", everyday=False, parameters=7_000_000_000)
    assert large == preset("quick", "./mine", everyday=False)
    assert preset("spag-faithful", "./mine", everyday=False, parameters=1000).words == "common", "as published"
