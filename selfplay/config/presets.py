"""Named configurations."""

import types
from collections.abc import Mapping
from dataclasses import replace

from .checks import near
from .config import NO_MIX, EvaluationConfig, LearnerConfig, SFTConfig, SFTMixConfig, TrainConfig


def preset(name: str, model: str | None = None, *, everyday: bool = True) -> TrainConfig:
    """A named configuration, fitted to a model.

    everyday: whether the model speaks the small English of the everyday world (sparring-mini and what was trained from it). Any other model
    gets word-list words, the full rules, and no SFT and no SFT mix.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; {near(name, PRESETS)}")
    config = PRESETS[name]
    if model is None:
        return config
    if everyday:
        return replace(config, model=model)
    return replace(
        config,
        model=model,
        words="common",
        sft_mix=replace(config.sft_mix, source=NO_MIX),
        max_new_tokens=256,
        sft=SFTConfig(),
        evaluation=replace(config.evaluation, scripted=False),
        learner=replace(config.learner, lr=OTHER_MODELS_LR.get(name, 1e-6), token_budget=LearnerConfig.token_budget),
    )


MINI = LearnerConfig(token_budget=2048)
"""A third faster than the default's budget on two cores, whose caches it fits."""
MINI_MIX = SFTMixConfig(weight=0.1)
"""Base texts hold hardly a request, and unlearn requests where they weigh more."""
SPAG = replace(MINI, kl=0.2, kl_form="reward", reference="behaviour")
"""SPAG's settings, published or corrected."""
WINS_BY_TALK = {"drop_reasons": "turn_limit,foul,silent,overlong"}
"""Reasons of outcomes that SPAG trains nobody on: ties and fouls. It knows no losing by silence or length; there its games go on."""


PRESETS: Mapping[str, TrainConfig] = types.MappingProxyType(
    {
        "quick": TrainConfig(rounds=8, learner=MINI, sft_mix=MINI_MIX),
        "full": TrainConfig(
            model="mini",
            rounds=12,
            learner=MINI,
            sft_mix=MINI_MIX,
            sft=SFTConfig(steps=500),
            evaluation=EvaluationConfig(games=400),
        ),
        "sft": TrainConfig(model="mini", rounds=0, learner=MINI, sft_mix=MINI_MIX, sft=SFTConfig(steps=500)),
        "rae": TrainConfig(rounds=8, learner=MINI, sft_mix=MINI_MIX, method="rae"),
        "spag-faithful": TrainConfig(
            rounds=3,
            method="spag",
            method_options=WINS_BY_TALK,
            game_options={"rule": "spag"},
            temperature=1.2,
            group_size=1,
            learner=replace(SPAG, aggregation="sequence", minibatch=96, schedule="cosine"),
            sft_mix=SFTMixConfig(fraction=1 / 3),
        ),
        "spag-corrected": TrainConfig(
            rounds=3,
            method="spag-corrected",
            method_options=WINS_BY_TALK,
            temperature=1.2,
            group_size=1,
            learner=SPAG,
        ),
    }
)
"""quick: the quickstart, minutes on two cores. full: the study's run, from the base. sft: makes the shipped model mini@imitation. rae:
quick, with running baselines. spag-faithful: SPAG to the letter, its judge included; learning rate and lengths fit the model (2e-6 and 256
tokens, as published, for models that are not of the everyday world). spag-corrected: the same games with its errors put right."""


OTHER_MODELS_LR: Mapping[str, float] = types.MappingProxyType({"spag-faithful": 2e-6, "spag-corrected": 2e-6})
"""Learning rates of presets for models that are not of the everyday world, where they are not 1e-6: SPAG's as published."""
