"""What a training run can be told: flat dataclasses, their presets, and YAML that comes back the same.

A resolved configuration holds no "automatic" values: what a preset chose for a model stands in the file. Knows nothing of how it is used.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from sparring.envs import games as _games  # noqa: F401  registers the games
from sparring.envs.core import find_game

from .alarms import AlarmsConfig
from .learner import LearnerConfig
from .settings import near

Objective = Literal["group", "rae", "spag"]
Arm = Literal["selfplay", "expert", "winning-expert"]


@dataclass(frozen=True)
class ImitationConfig:
    """Imitation of scripted experts before self-play."""

    steps: int = 0
    """Optimiser steps; 0 leaves imitation out. Fewer: malformed talk; more: nothing after the plateau."""
    minibatch: int = 64
    """Conversations in one step, replay included."""
    lr: float = 1e-3
    """Learning rate. Half of it left a 1 M-parameter model unable to declare; a model of billions wants about 5e-6."""
    replay_share: float = 0.3
    """Share of replayed conversations in every step, in [0, 1); used only where there is something to replay."""
    games: int = 20_000
    """Expert games to draw from, each giving a conversation per role; drawn again once all were seen."""
    winners_only: bool = False
    """Only the winner's side of a game is imitated, as SPAG does; ties are dropped."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Measurement against the frozen imitation model and against scripted players."""

    games: int = 200
    """Games per cell (opponent, seat, word group) for the first and the last model; an interval is about
    0.98/sqrt(games) to each side."""
    games_between: int = 0
    """Games per cell for the models of the rounds in between; 0 leaves them out."""
    every: int = 1
    """Which rounds in between are measured: every n-th."""
    temperature: float = 0.5
    """Sampling temperature of both players. 0 is greedy, and then only the words make games differ."""
    control: bool = True
    """Whether a copy of the first model learns from scripted experts with as many tokens as self-play had, and is measured too."""
    scripted: bool = True
    """Whether scripted players are opponents too; they know the everyday world alone and are left out on other words."""


@dataclass(frozen=True)
class TrainConfig:
    """One run of self-play training."""

    model: str = "mini@imitation"
    """Who learns: mini, mini@imitation, a model folder, RUN@N, RUN@latest or hf:ID."""
    game: str = "AdversarialTaboo"
    """AdversarialTaboo; AdversarialTaboo-DrawingOut, which prices outcomes so that drawing the word out pays; TwentyQuestions; or a game
    of TextArena for two players, textarena:ID (extra textarena), which has no secret words."""
    max_turns: int = 5
    """Utterances per role and game. More: longer games, more ties avoided, slower rounds."""
    words: str = "everyday"
    """Secret words: everyday (three groups), common, band:1000-5000, or a file with one word a line (sparring words --help). Several with
    commas are a curriculum, as everyday,band:1-2000,band:2001-8000: the run begins with the first list, the others come in one by one after
    equal shares of the rounds, and all stay in play. Each list is measured apart."""
    heldout: float = 0.1
    """Share of words never played, about, in [0, 1); the everyday world brings its own groups and ignores this, as does LIST@train."""
    prompts: str = "card"
    """What players are told: card (what the model was trained with; the full rules, where it was not), brief, full, or a JSON file
    {"system": {role: text}, "opening": text} with texts of your own."""
    rounds: int = 12
    """Rounds of play and learning. 0: imitation and measurement only."""
    games_per_round: int = 512
    """Games played before each update, a multiple of group_size. More: steadier updates, slower rounds."""
    group_size: int = 8
    """Games about the same word in one round; "group" compares within them, so it needs at least 2."""
    temperature: float = 1.0
    """Sampling temperature of self-play, above 0. Higher explores more; far above 1 sentences break."""
    max_new_tokens: int = 48
    """Longest utterance in tokens; who does not end in time loses as over-long."""
    objective: Objective = "group"
    """How outcomes become advantages: group (within word and role), rae (running baseline per role), spag (winners' turns)."""
    shuffle_rewards: bool = False
    """A negative control: outcomes are dealt out at random among the games of a round."""
    arm: Arm = "selfplay"
    """selfplay, or a control that learns from new expert games with as many trained tokens: expert, or winning-expert (winners' side
    alone)."""
    arm_like: Path | None = None
    """Control arms: the run folder whose trained tokens per round are matched; None takes all of games_per_round expert games."""
    imitation: ImitationConfig = field(default_factory=ImitationConfig)
    """Imitation of scripted experts before the first round."""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """The update."""
    replay: str = "base"
    """Conversations mixed into every update: base (the embedded model's base texts), none, or a file of JSON lines {"messages": [...]}."""
    replay_pool: int = 1024
    """Replayed conversations drawn afresh for every round."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Measurement of strength."""
    alarms: AlarmsConfig = field(default_factory=AlarmsConfig)
    """When a round is unhealthy, and what happens then."""
    concurrency: int = 256
    """Games in play at once. More: faster, until memory is short."""
    keep: int = 0
    """Checkpoints kept beside the first and the last, counted back from the last; 0 keeps all, so that any two rounds can play each
    other."""
    seed: int = 0
    """The only source of randomness; equal seeds on one machine give equal games."""
    out: Path | None = None
    """The run folder, new or empty; None takes the first free runs/NAME-N."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of weights while playing: auto (float32 on a CPU, bfloat16 on a GPU), float32, bfloat16."""
    attention: str = "auto"
    """Attention implementation of transformers: auto, eager, sdpa, flash_attention_2, ..."""
    preset: str = "custom"
    """Which preset this came from; recorded, otherwise without effect."""

    def __post_init__(self) -> None:
        check(self)


def check(config: TrainConfig) -> None:
    """Raises ValueError where values contradict each other, before anything has been loaded or written."""
    wrong: list[str] = []
    if config.games_per_round < 1 or config.group_size < 1 or config.games_per_round % config.group_size:
        wrong.append(f"games_per_round ({config.games_per_round}) must be a multiple of group_size ({config.group_size})")
    if config.objective == "group" and config.group_size < 2 and config.arm == "selfplay":
        wrong.append("objective group compares games about the same word: group_size must be at least 2")
    if config.temperature <= 0:
        wrong.append(f"temperature must be above 0 for self-play, got {config.temperature}")
    for name, share in (
        ("heldout", config.heldout),
        ("imitation.replay_share", config.imitation.replay_share),
    ):
        if not 0 <= share < 1:
            wrong.append(f"{name} must be in [0, 1), got {share}")
    whole = {name: getattr(config, name) for name in ("rounds", "replay_pool", "keep")}
    whole |= {f"imitation.{name}": getattr(config.imitation, name) for name in ("steps", "games")}
    whole |= {f"evaluation.{name}": getattr(config.evaluation, name) for name in ("games", "games_between")}
    wrong += [f"{name} cannot be negative, got {value}" for name, value in whole.items() if value < 0]
    positive = {name: getattr(config, name) for name in ("max_turns", "max_new_tokens", "concurrency")}
    positive |= {
        "evaluation.every": config.evaluation.every,
        "imitation.minibatch": config.imitation.minibatch,
    }
    wrong += [f"{name} must be at least 1, got {value}" for name, value in positive.items() if value < 1]
    if config.evaluation.temperature < 0:
        wrong.append(f"evaluation.temperature cannot be negative, got {config.evaluation.temperature}")
    if config.imitation.steps and config.imitation.games < 1:
        wrong.append("imitation.steps above 0 needs imitation.games of at least 1")
    learner = config.learner
    for name in ("epochs", "minibatch", "token_budget", "constant"):
        if getattr(learner, name) < 1:
            wrong.append(f"learner.{name} must be at least 1, got {getattr(learner, name)}")
    for name in ("lr", "kl", "replay_per_minibatch", "replay_weight", "weight_decay", "warmup", "clip_low", "clip_high"):
        if getattr(learner, name) < 0:
            wrong.append(f"learner.{name} cannot be negative, got {getattr(learner, name)}")
    if learner.schedule != "constant" and learner.total_steps < 1:
        wrong.append(f"learner.schedule {learner.schedule} needs learner.total_steps, the optimiser steps of the whole run")
    scripted_words = config.words == "everyday"
    if not scripted_words and (config.imitation.steps and config.replay in ("base", "none")):
        wrong.append("scripted experts know the everyday world only: set imitation.steps 0 or words everyday")
    if not scripted_words and config.arm != "selfplay":
        wrong.append(f"arm {config.arm} needs scripted experts: set words everyday")
    try:
        find_game(config.game)
    except ValueError as error:
        wrong.append(str(error))
    if not config.game.startswith("AdversarialTaboo"):
        asked = {"imitation.steps": config.imitation.steps, "evaluation.scripted": config.evaluation.scripted}
        asked |= {"evaluation.control": config.evaluation.control, f"arm {config.arm}": config.arm != "selfplay"}
        wrong += [f"{name} needs scripted experts, who play Adversarial Taboo alone: switch it off" for name, on in asked.items() if on]
    if wrong:
        raise ValueError("; ".join(wrong))


def preset(name: str, model: str | None = None, *, everyday: bool = True) -> TrainConfig:
    """A named configuration, fitted to a model.

    everyday: whether the model speaks the small English of the everyday world (sparring-mini and what was trained from it). Any other model
    gets word-list words, the full rules, and no imitation or replay.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; {near(name, PRESETS)}")
    config = replace(PRESETS[name], preset=name)
    if model is None:
        return config
    if everyday:
        return replace(config, model=model)
    return replace(
        config,
        model=model,
        words="common",
        replay="none",
        max_new_tokens=256,
        imitation=ImitationConfig(),
        evaluation=replace(config.evaluation, scripted=False),
        learner=replace(config.learner, lr=1e-6, token_budget=LearnerConfig.token_budget),
    )


MINI = LearnerConfig(token_budget=2048)
"""A third faster than the default's budget on two cores, whose caches it fits."""

PRESETS: Mapping[str, TrainConfig] = types.MappingProxyType(
    {
        "quick": TrainConfig(rounds=8, learner=MINI),
        "full": TrainConfig(
            model="mini",
            rounds=24,
            learner=MINI,
            imitation=ImitationConfig(steps=500),
            evaluation=EvaluationConfig(games=400, games_between=0),
        ),
        "imitation": TrainConfig(model="mini", rounds=0, learner=MINI, imitation=ImitationConfig(steps=500)),
    }
)
"""quick: the quickstart, minutes on two cores. full: the study's run, from the base. imitation: makes the shipped imitation model."""
