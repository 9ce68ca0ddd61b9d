"""Named configurations."""

import types
from collections.abc import Mapping
from dataclasses import replace

from .checks import near
from .config import EXPERT_GAMES, NO_MIX, EvaluationConfig, LearnerConfig, SFTConfig, SFTMixConfig, TrainConfig


def preset(
    name: str, model: str | None = None, *, everyday: bool = True, parameters: int | None = None, plays: bool = False
) -> TrainConfig:
    """A named configuration, fitted to a model.

    everyday: whether the model speaks the small English of the everyday world (sparring-mini and what was
    trained from it). Any other model gets word-list words, the full rules, and no SFT and no SFT mix; a small
    one what `_small` gives it. parameters: how many it has, None: not known. plays: whether it has learnt the
    game before, in a run.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; {near(name, PRESETS)}")
    config = PRESETS[name]
    if model is None:
        return config
    if everyday:
        return replace(config, model=model)
    if parameters is not None and parameters < SMALL and name in SMALL_PRESETS:
        return _small(replace(config, model=model), plays=plays, thorough=name == "full")
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


LEAST_WON = 0.15
"""Share of games against itself that a start has to win by skill (docs/metrics.md)."""
SMALL, SMALL_PRESETS = 10**9, ("quick", "full", "rae")
"""Models of fewer parameters have to be shown the game before they can win at it, in these presets."""


def _small(config: TrainConfig, *, plays: bool, thorough: bool) -> TrainConfig:
    """For a general language model that is too small to play by reading rules: it learns the form of the
    game from the everyday world's clear experts and brings its own knowledge of the words
    (docs/decisions.md has the trials). plays: whether it has been shown the game. thorough: hours instead
    of half an hour on two cores."""
    start = SFTConfig(steps=96, minibatch=16, lr=3e-4, mix_share=0.0, games=2000, experts="clear")
    return replace(
        config,
        words="everyday",
        prompts="card" if plays else "brief",
        sft=replace(start, steps=0) if plays else start,
        sft_mix=SFTMixConfig(source=EXPERT_GAMES, fraction=0.25, weight=0.2),
        rounds=config.rounds if thorough else 3,
        games_per_round=128 if thorough else 64,
        temperature=0.7,
        max_new_tokens=40,
        learner=replace(config.learner, lr=1e-5, minibatch=32),
        evaluation=replace(config.evaluation, games=64 if thorough else 16, control=thorough),
        alarms=replace(config.alarms, action="rollback", limits={"start": LEAST_WON, "imbalance": None, "truth": None}),
    )


MINI = LearnerConfig(token_budget=2048)
"""A third faster than the default's budget on two cores, whose caches it fits."""
MINI_MIX = SFTMixConfig(weight=0.1)
"""Base texts hold hardly a request, and unlearn requests where they weigh more."""
SPAG = replace(MINI, kl=0.2, kl_form="reward", reference="behaviour")
"""SPAG's settings, published or corrected."""
WINS_BY_TALK = {"drop_reasons": "turn_limit,foul,silent,overlong"}
"""Reasons of outcomes that SPAG trains nobody on: ties and fouls. It knows no losing by silence or length;
there its games go on."""


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
"""quick: the quickstart, minutes on two cores. full: the study's run, from the base. sft: makes the
shipped model mini@imitation. rae: quick, with running baselines. spag-faithful: SPAG to the letter, its
judge included; learning rate and lengths fit the model (2e-6 and 256 tokens, as published, for models that
are not of the everyday world). spag-corrected: the same games with its errors put right."""


OTHER_MODELS_LR: Mapping[str, float] = types.MappingProxyType({"spag-faithful": 2e-6, "spag-corrected": 2e-6})
"""Learning rates of presets for models that are not of the everyday world, where they are not 1e-6: SPAG's
as published."""
