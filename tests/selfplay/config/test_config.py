"""What a configuration refuses, before anything is loaded: each limit at its edge, and all that is wrong in one message."""

import dataclasses
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from sparring.envs.core import game_from_options
from sparring.selfplay.config.config import AlarmsConfig, EvaluationConfig, LearnerConfig, SFTConfig, SFTMixConfig, TrainConfig
from sparring.selfplay.config.presets import PRESETS, preset
from sparring.selfplay.config.yaml_io import flat

PARTS = {
    "learner": LearnerConfig,
    "sft": SFTConfig,
    "evaluation": EvaluationConfig,
    "sft_mix": SFTMixConfig,
    "alarms": AlarmsConfig,
}


def fields(kind: Any) -> int:
    """Settings of a dataclass, those of nested ones included."""
    return sum(fields(PARTS[field.name]) if field.name in PARTS else 1 for field in dataclasses.fields(kind))


def test_there_are_at_most_sixty_settings():
    assert (
        fields(TrainConfig)
        == len(flat(TrainConfig(game_options={"max_turns": "5"}, method_options={"a": "b"}, league={"mirror": "0.5"}))) + 1
    )
    assert fields(TrainConfig) <= 60


def made(name: str, value: Any, **others: Any) -> TrainConfig:
    """A configuration with one setting, by its dotted name."""
    part, dot, field = name.rpartition(".")
    return TrainConfig(**({part: PARTS[part](**{field: value})} if dot else {field: value}), **others)


@pytest.mark.parametrize(
    ("name", "allowed", "refused", "said"),
    [
        ("temperature", 0.01, 0.0, "above 0"),
        ("heldout", 0.0, 1.0, r"in \[0, 1\)"),
        ("sft.mix_share", 0.99, -0.1, r"in \[0, 1\)"),
        ("rounds", 0, -1, "at least 0"),
        ("keep_checkpoints", 0, -1, "at least 0"),
        ("evaluation.games", 0, -1, "at least 0"),
        ("max_new_tokens", 1, 0, "at least 1"),
        ("concurrency", 1, 0, "at least 1"),
        ("evaluation.every", 0, -1, "at least 0"),
        ("evaluation.temperature", 0.0, -0.1, "at least 0"),
        ("max_memory", 2**20, 2**20 + 1, "0 to 1,048,576"),
        ("learner.epochs", 1, 0, "at least 1"),
        ("learner.lr", 0.0, -1e-9, "at least 0"),
        ("learner.kl", 0.0, float("nan"), "finite"),
        ("learner.adamw", (0.0, 0.999, 0.1), (0.9, 1.0, 0.0), r"in \[0, 1\)"),
        ("learner.clip", (0.0, 0.3), (0.2, -0.1), "at least 0"),
        ("learner.grad_clip", 1e-9, 0.0, "above 0"),
        ("learner.lora_rank", 0, -1, "at least 0"),
        ("learner.aggregation", "constant:1", "constant:0", "token, sequence or constant:N"),
        ("sft_mix.fraction", 0.0, -0.1, "0 to 100"),
        ("sft_mix.weight", 0.0, -0.1, "at least 0"),
        ("alarms.limits", {"ties": None}, {"tie": 0.5}, "did you mean 'ties'"),
        ("alarms.limits", {"ties": 0.5}, {"ties": float("inf")}, "finite"),
        ("game_options", {"max_turns": "1"}, {"max_turns": "0"}, "at least 1"),
        ("game_options", {"max_turns": "7"}, {"max_turns": "many"}, "whole number, got 'many'"),
        ("game_options", {"rule": "family"}, {"rule": "lema"}, "known rules: lemma, family, spag"),
        ("game_options", {"rule": "spag"}, {"rules": "spag"}, "did you mean 'rule'"),
        ("game", "AdversarialTaboo", "Taboo", "unknown game"),
    ],
)
def test_each_limit_at_its_edge(name: str, allowed: Any, refused: Any, said: str):
    assert made(name, allowed)
    with pytest.raises(ValueError, match=said):
        made(name, refused)


@pytest.mark.parametrize("name", ["lr", "adamw", "minibatch"])
def test_what_is_out_of_range_is_named(name: str):
    value = (0.9, -1.0, 0.0) if name == "adamw" else -1
    with pytest.raises(ValueError, match=rf"learner\.{name} must be"):
        made(f"learner.{name}", value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"games_per_round": 12, "group_size": 8}, "multiple of group_size"),
        ({"learner": LearnerConfig(four_bit=True)}, "needs learner.lora_rank"),
        ({"learner": LearnerConfig(reference="behaviour", kl_form="exact")}, "whole distributions"),
        ({"words": "common", "sft": SFTConfig(steps=1)}, "everyday world only"),
        ({"role": "defender"}, "needs an opponent"),
        ({"opponent": "scripted"}, "plays against one role"),
        ({"game": "TwentyQuestions"}, "evaluation.scripted needs scripted experts"),
        ({"game": "TwentyQuestions", "game_options": {"rule": "spag"}}, "TwentyQuestions has no option 'rule'"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        TrainConfig(**changes)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ValueError, match=r"rounds.*temperature.*learner\.epochs"):
        TrainConfig(temperature=0.0, rounds=-1, learner=LearnerConfig(epochs=0))


def test_options_of_a_game_make_the_game():
    game = game_from_options("AdversarialTaboo", {"max_turns": "3", "rule": "spag"})
    assert (game.max_turns, game.rule, game.max_characters) == (3, "spag", 2000)
    assert game_from_options("TwentyQuestions", {}).horizon == 40
    with pytest.raises(ValueError, match="has no option 'prices'"):
        game_from_options("AdversarialTaboo", {"prices": "1"})


@pytest.mark.parametrize(("aggregation", "divisor"), [("token", None), ("sequence", None), ("constant:64", 64)])
def test_the_divisor_of_an_aggregation(aggregation: str, divisor: int | None):
    assert LearnerConfig(aggregation=aggregation).divisor == divisor


def test_the_mix_beside_a_step():
    assert SFTMixConfig().per_step(64) == 16 and SFTMixConfig(fraction=0).per_step(64) == 0
    assert SFTMixConfig(source="none").per_step(64) == 0
    assert PRESETS["spag-faithful"].sft_mix.per_step(96) == 32


def test_alarms_keep_their_usual_limits_where_none_is_given():
    alarms = AlarmsConfig(limits={"ties": None, "entropy": 0.4})
    assert (alarms.limit("ties"), alarms.limit("entropy"), alarms.limit("fouls")) == (None, 0.4, 0.2)


def test_presets_are_fitted_to_other_models():
    for name in PRESETS:
        fitted = preset(name, "./mine", everyday=False)
        assert (fitted.words, fitted.sft_mix.source, fitted.sft.steps) == ("common", "none", 0)
        assert fitted.learner.lr == (2e-6 if name.startswith("spag") else 1e-6)
        assert preset(name, "mini") == replace(PRESETS[name], model="mini")


def test_importing_settings_imports_nothing_heavy():
    code = (
        "import sys, sparring.selfplay.config.config\n"
        "sys.exit(' '.join({'torch', 'transformers', 'numpy', 'gymnasium', 'yaml', 'tyro'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_small_language_models_are_shown_the_game_first():
    fitted = preset("quick", "./mine", everyday=False, parameters=134_515_008)
    assert (fitted.words, fitted.prompts, fitted.sft_mix.source, fitted.sft.experts) == ("everyday", "brief", "experts", "clear")
    assert fitted.sft.steps > 0 and fitted.alarms.limit("start") == 0.15 and fitted.max_new_tokens < 256
    known = preset("quick", "runs/x@3", everyday=False, parameters=134_515_008, plays=True)
    assert (known.sft.steps, known.prompts) == (0, "card")
    large = preset("quick", "./mine", everyday=False, parameters=7_000_000_000)
    assert large == preset("quick", "./mine", everyday=False)
    assert preset("spag-faithful", "./mine", everyday=False, parameters=1000).words == "common", "as published"
