"""Named configurations."""

import types
from collections.abc import Mapping
from dataclasses import replace

from sparring.envs.games import registered as _games  # noqa: F401  registers the games

from .config import DROPS, EvaluationConfig, LearnerConfig, SFTConfig, TrainConfig
from .yaml_io import near


def preset(
    name: str, model: str | None = None, *, everyday: bool = True, parameters: int | None = None, plays: bool = False
) -> TrainConfig:
    """A named configuration, fitted to a model.

    everyday: whether the model speaks the small English of the everyday world (sparring-mini and what was trained from it). Any other model
    gets word-list words, the full rules, and no SFT or replay; a small one what `_small` gives it. parameters: how many it has, None: not
    known. plays: whether it has learnt the game before, in a run.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; {near(name, PRESETS)}")
    config = replace(PRESETS[name], preset=name)
    if model is None:
        return config
    if everyday:
        return replace(config, model=model)
    if parameters is not None and parameters < SMALL and name in SMALL_PRESETS:
        return _small(replace(config, model=model), plays=plays)
    return replace(
        config,
        model=model,
        words="common",
        replay="none",
        max_new_tokens=256,
        sft=SFTConfig(),
        evaluation=replace(config.evaluation, scripted=False),
        learner=replace(config.learner, lr=OTHER_MODELS_LR.get(name, 1e-6), token_budget=LearnerConfig.token_budget),
    )


SMALL, SMALL_PRESETS = 10**9, ("quick", "full", "rae")
"""Models of fewer parameters have to be shown the game before they can win at it, in these presets."""


def _small(config: TrainConfig, *, plays: bool) -> TrainConfig:
    """For a general language model that is too small to play by reading rules: it learns the form of the game from the everyday world's
    clear experts and brings its own knowledge of the words (docs/decisions.md has the trials). plays: whether it has been shown
    the game."""
    start = SFTConfig(steps=96, minibatch=16, lr=3e-4, replay_share=0.0, games=2000, experts="clear")
    full = config.preset == "full"
    return replace(
        config,
        words="everyday",
        prompts="card" if plays else "brief",
        sft=replace(start, steps=0) if plays else start,
        replay="experts",
        replay_pool=64,
        rounds=config.rounds if full else 3,
        games_per_round=128 if full else 64,
        temperature=0.8,
        max_new_tokens=40,
        learner=replace(config.learner, lr=1e-5, minibatch=32, token_budget=2048, replay_per_minibatch=8, replay_weight=0.2),
        evaluation=replace(config.evaluation, games=64 if full else 16, gate=128, control=full),
        alarms=replace(config.alarms, action="rollback"),
    )


MINI = LearnerConfig(token_budget=2048, replay_weight=0.1)
"""The budget: a third faster than the default's on two cores, whose caches it fits. The weight: base texts hold hardly a request, and talk
requests away where they weigh more."""


SPAG = replace(MINI, kl=0.2, kl_form="reward", reference="behaviour", clip_low=0.2, clip_high=0.2, replay_weight=0.5)
"""SPAG's settings, published or corrected."""


PRESETS: Mapping[str, TrainConfig] = types.MappingProxyType(
    {
        "quick": TrainConfig(rounds=8, learner=MINI),
        "full": TrainConfig(
            model="mini",
            rounds=12,
            learner=MINI,
            sft=SFTConfig(steps=500),
            evaluation=EvaluationConfig(games=400, games_between=0),
        ),
        "sft": TrainConfig(model="mini", rounds=0, learner=MINI, sft=SFTConfig(steps=500)),
        "rae": TrainConfig(rounds=8, learner=MINI, method="rae"),
        "spag-faithful": TrainConfig(
            rounds=3,
            method="spag",
            rule="spag",
            drop_reasons=DROPS,
            temperature=1.2,
            group_size=1,
            learner=replace(SPAG, aggregation="sequence", minibatch=96, replay_per_minibatch=32, schedule="cosine", per_round=True),
        ),
        "spag-corrected": TrainConfig(rounds=3, method="spag-corrected", drop_reasons=DROPS, temperature=1.2, group_size=1, learner=SPAG),
    }
)
"""quick: the quickstart, minutes on two cores. full: the study's run, from the base. sft: makes the shipped model mini@imitation. rae:
quick, with running baselines. spag-faithful: SPAG to the letter, its judge included; learning rate and lengths fit the model (2e-6 and 256
tokens, as published, for models that are not of the everyday world). spag-corrected: the same games with its errors put right."""


OTHER_MODELS_LR: Mapping[str, float] = types.MappingProxyType({"spag-faithful": 2e-6, "spag-corrected": 2e-6})
"""Learning rates of presets for models that are not of the everyday world, where they are not 1e-6: SPAG's as published."""
