"""What a training run can be told: flat dataclasses, their presets, and YAML that comes back the same.

A resolved configuration holds no "automatic" values: what a preset chose for a model stands in the file. Knows nothing of how it is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sparring.agents.models.memory import require_gib
from sparring.envs.core import find_game, make_game
from sparring.envs.games import registered as _games  # noqa: F401  registers the games
from sparring.envs.judge.word_forms import RULES

from .yaml_io import near, not_finite


@dataclass(frozen=True)
class SFTConfig:
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
    """Expert games to draw from at random, each giving a conversation per role. Conversations of a file come in shuffled passes instead."""
    data: Path | None = None
    """A file of games or conversations to imitate instead of scripted experts, as sparring collect writes, or SPAG's, or TRL's; of games
    the winner's side. None: scripted experts, or where they do not know the words, the replay file."""
    winners_only: bool = False
    """Only the winner's side of a game is imitated, and roles weigh half each, however seldom one wins, as SPAG does; ties are dropped. In
    files of games the winner's side is always taken, with this weighed so."""
    kl: float = 0.0
    """Weight of SPAG's KL to the model as it came (0.1 there); above 0 every conversation counts alike, replayed ones too, however
    long."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Measurement against the frozen initial model and against scripted players."""

    games: int = 200
    """Games per cell (opponent, role, word group) for the first and the last model; an interval is about
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
class LearnerConfig:
    """The update."""

    lr: float = 3e-4
    """Learning rate of AdamW. 1e-3 destroyed facts and truth in self-play of a 1 M-parameter model."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's averaging."""
    epochs: int = 1
    """Passes over a round's rows. More: more learnt from a round, further off policy."""
    minibatch: int = 64
    """Rows (of pairs: pairs) in one optimiser step, without replay."""
    token_budget: int = 8192
    """Tokens in one forward pass, padding included where rows cannot be packed. Decides memory, never results."""
    gradient_checkpointing: bool = False
    """Layers keep their inputs alone and are computed again in the backward pass: a third slower, far less memory, same results."""
    lora_rank: int = 0
    """Rank of a LoRA adapter (extra peft), trained on all linear layers but the head, with the model frozen under it as the reference;
    0 trains all weights. Larger: more can be learnt, more memory. Wants about ten times the learning rate."""
    four_bit: bool = False
    """QLoRA: the frozen model's weights in four bits (extra qlora). Needs lora_rank. Run on a CPU so far, never on a GPU."""
    clip_low: float = 0.2
    """PPO clip below 1."""
    clip_high: float = 0.2
    """PPO clip above 1. Larger lets unlikely tokens grow faster."""
    kl: float = 0.1
    """Weight of KL(model || reference). Larger: closer to it, slower to learn."""
    kl_form: Literal["auto", "exact", "sampled", "reward"] = "auto"
    """How the KL enters: exact (sum over the vocabulary), sampled (ratio * k3 on the tokens that were drawn), reward (k1, off the
    advantages, as SPAG has it), auto (exact for small vocabularies, else sampled)."""
    reference: Literal["initial", "behaviour"] = "initial"
    """The reference policy of KL, DPO and IPO: initial (the model of round 0, frozen), behaviour (the weights that played the round, as in
    SPAG)."""
    beta: float = 0.1
    """DPO's and IPO's beta, SPIN's lambda, above 0. Larger: closer to the reference."""
    aggregation: Literal["token", "sequence", "constant"] = "token"
    """How tokens make a loss: mean over tokens; mean over rows of their token means; sum over tokens / (samples * loss_divisor) as Dr.
    GRPO."""
    loss_divisor: int = 64
    """Tokens that "constant" divides a row by."""
    replay_per_minibatch: int = 16
    """Replayed conversations in each optimiser step, where there is replay."""
    replay_weight: float = 0.5
    """Weight of the replay's loss."""
    grad_clip: float = 1.0
    """Largest norm of a step's gradient."""
    warmup: int = 0
    """Optimiser steps until the full learning rate. Imitation has its own: a fifth of its steps, 20 at most."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """The learning rate after warm-up; cosine and linear fall to 0 at total_steps. Imitation's is always cosine."""
    total_steps: int = 0
    """Optimiser steps of the whole run, for cosine and linear."""
    per_round: bool = False
    """Optimiser and schedule begin anew in every round and end with it, as SPAG's; total_steps is then what the round needs."""


@dataclass(frozen=True)
class AlarmsConfig:
    """When a round is unhealthy, and what then. A limit of None leaves its alarm out."""

    action: Literal["warn", "stop", "rollback"] = "warn"
    """warn: say so and go on. stop: end the run with the model of the last healthy round. rollback: go back to that model, halve the
    learning rate and play the round anew, three times at most."""
    entropy: float | None = 0.5
    """Least entropy per token, as a share of the first round's."""
    reward_std: float | None = 0.3
    """Least standard deviation of returns, either role's."""
    mute: float | None = 0.2
    """Largest share of games lost by silence or over-long speech."""
    repeated: float | None = 0.2
    """Largest share of utterances that their speaker has said before in the same game."""
    imbalance: float | None = 0.85
    """Largest share of decided games that one role wins."""
    ties: float | None = 0.6
    """Largest share of ties."""
    fouls: float | None = 0.2
    """Largest share of games lost by a foul."""
    mismatch_kl: float | None = 0.01
    """Largest KL(sampler || learner) before a round's first step."""
    grad_norm: float | None = 10.0
    """Largest norm of a step's gradient before clipping, as a multiple of the first round's mean, or of 1 where that was below 0.001."""
    truth: float | None = 0.1
    """Largest fall of the share of true hints below the first round's; only where truth is known."""


DROPS = ("turn_limit", "foul", "silent", "overlong")
"""Reasons of outcomes that SPAG trains nobody on: ties and fouls. It knows no losing by silence or length; there its games go on."""


@dataclass(frozen=True)
class TrainConfig:
    """One run of self-play training."""

    model: str = "mini@imitation"
    """Who learns: mini, mini@imitation, a model folder, hf:ID, RUN@N, or RUN@latest, recorded as the RUN@N that it is at the beginning."""
    game: str = "AdversarialTaboo"
    """AdversarialTaboo; AdversarialTaboo-DrawingOut, whose payoffs reward elicitation more than guesses; TwentyQuestions; or a game
    of TextArena for two players, textarena:ID (extra textarena), which has no secret words."""
    rule: str = "lemma"
    """How the judge of Adversarial Taboo matches words: lemma (inflections), family (derivations too), spag (substrings, as published)."""
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
    method: str = "group"
    """How the model learns: group (returns within word and role), rae (a running baseline per role), turns (turn-level advantages), spag,
    spag-corrected (winners' turns), dpo and ipo (pairs of a game won and one lost), spin (experts' talk against the model's own),
    expert and winning-expert (baselines: experts' talk alone), shuffled(METHOD) (a control: returns dealt out at random), or your own,
    FILE.py:FUNCTION. docs/objectives.md"""
    method_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the method's own, as corrections token-ratio for spag, or like RUN for expert."""
    drop_reasons: tuple[str, ...] | None = None
    """Reasons of outcomes that are not trained on (turn_limit: a tie; foul; ...); None: the method's own, foul for spag, else none."""
    role: str = "both"
    """Who is trained: both, or one role (attacker, defender) against a fixed opponent."""
    league: Mapping[str, str] = field(default_factory=dict)
    """Opponents besides the mirror, as draw=pfsp mirror=0.5 every=1 fixed=scripted,random; none given: no league (docs/league.md)."""
    opponent: str | None = None
    """The fixed opponent of a single role, never trained: any agent's name, as in scripted, mini@imitation, RUN@3, openai:MODEL@URL."""
    sft: SFTConfig = field(default_factory=SFTConfig)
    """Imitation of scripted experts before the first round."""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """The update."""
    replay: str = "base"
    """Conversations mixed into every update: base (the embedded model's base texts), none, or a file (docs/formats.md)."""
    replay_pool: int = 1024
    """Replayed conversations drawn afresh for every round."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Measurement of strength."""
    alarms: AlarmsConfig = field(default_factory=AlarmsConfig)
    """When a round is unhealthy, and what happens then."""
    tracker: str = "tensorboard"
    """Where a round's metrics go besides metrics.jsonl: tensorboard, or any other of accelerate's trackers that is installed, as wandb,
    mlflow, trackio; several with commas (docs/metrics.md)."""
    concurrency: int = 256
    """Games in play at once. More: faster, until memory is short."""
    max_memory: float = 0.0
    """GiB that cached keys and values may take; 0 sets no bound. Less: fewer games at once, and talks computed again."""
    compile: bool = False
    """Compile the model for playing (torch.compile; on a GPU replayed as CUDA graphs). On a CPU that takes 10 to 20 seconds at the start
    and gains the embedded model nothing where the package was installed with a C++ compiler."""
    keep_checkpoints: int = 0
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
    wrong = not_finite(config)
    if config.games_per_round < 1 or config.group_size < 1 or config.games_per_round % config.group_size:
        wrong.append(f"games_per_round ({config.games_per_round}) must be a multiple of group_size ({config.group_size})")
    if config.temperature <= 0:
        wrong.append(f"temperature must be above 0 for self-play, got {config.temperature}")
    for name, share in (
        ("heldout", config.heldout),
        ("sft.replay_share", config.sft.replay_share),
    ):
        if not 0 <= share < 1:
            wrong.append(f"{name} must be in [0, 1), got {share}")
    whole = {name: getattr(config, name) for name in ("rounds", "replay_pool", "keep_checkpoints")}
    whole |= {f"sft.{name}": getattr(config.sft, name) for name in ("steps", "games")}
    whole |= {f"evaluation.{name}": getattr(config.evaluation, name) for name in ("games", "games_between")}
    wrong += [f"{name} cannot be negative, got {value}" for name, value in whole.items() if value < 0]
    positive = {name: getattr(config, name) for name in ("max_turns", "max_new_tokens", "concurrency")}
    positive |= {
        "evaluation.every": config.evaluation.every,
        "sft.minibatch": config.sft.minibatch,
    }
    wrong += [f"{name} must be at least 1, got {value}" for name, value in positive.items() if value < 1]
    try:
        require_gib("max_memory", config.max_memory)
    except ValueError as error:
        wrong.append(str(error))
    for name in ("lr", "kl"):
        if getattr(config.sft, name) < 0:
            wrong.append(f"sft.{name} cannot be negative, got {getattr(config.sft, name)}")
    if config.evaluation.temperature < 0:
        wrong.append(f"evaluation.temperature cannot be negative, got {config.evaluation.temperature}")
    if config.sft.steps and config.sft.games < 1:
        wrong.append("sft.steps above 0 needs sft.games of at least 1")
    learner = config.learner
    for name in ("epochs", "minibatch", "token_budget", "loss_divisor"):
        if getattr(learner, name) < 1:
            wrong.append(f"learner.{name} must be at least 1, got {getattr(learner, name)}")
    for name in ("lr", "kl", "replay_per_minibatch", "replay_weight", "weight_decay", "warmup", "clip_low", "clip_high"):
        if getattr(learner, name) < 0:
            wrong.append(f"learner.{name} cannot be negative, got {getattr(learner, name)}")
    if not all(0 <= beta < 1 for beta in learner.betas):
        wrong.append(f"learner.betas must be in [0, 1), got {learner.betas[0]} and {learner.betas[1]}")
    if learner.grad_clip <= 0:
        wrong.append(f"learner.grad_clip must be above 0, got {learner.grad_clip}")
    if learner.schedule != "constant" and learner.total_steps < 1 and not learner.per_round:
        wrong.append(f"learner.schedule {learner.schedule} needs learner.total_steps, the optimiser steps of the whole run")
    if learner.lora_rank < 0:
        wrong.append(f"learner.lora_rank cannot be negative, got {learner.lora_rank}")
    if learner.four_bit and not learner.lora_rank:
        wrong.append("learner.four_bit keeps weights that cannot be trained: it needs learner.lora_rank, as 16")
    if learner.four_bit and config.sft.steps:
        wrong.append("learner.four_bit: weights in four bits cannot take up what imitation teaches: set sft.steps 0")
    if learner.beta <= 0:
        wrong.append(f"learner.beta must be above 0, got {learner.beta}")
    if learner.reference == "behaviour" and learner.kl_form == "exact":
        wrong.append(
            "learner.kl_form exact needs whole distributions, and of the model that played the tokens' alone are known: set sampled"
        )
    scripted_words = config.words == "everyday" or config.sft.data is not None
    if not scripted_words and (config.sft.steps and config.replay in ("base", "none")):
        wrong.append("scripted experts know the everyday world only: set sft.steps 0, words everyday, or sft.data FILE")
    wrong += _wrong_rule(config)
    try:
        find_game(config.game)
    except ValueError as error:
        wrong.append(str(error))
    else:
        wrong += _wrong_seats(config)
    if not config.game.startswith("AdversarialTaboo"):
        asked = {
            "sft.steps": config.sft.steps and config.sft.data is None,
            "evaluation.scripted": config.evaluation.scripted,
        }
        asked |= {"evaluation.control": config.evaluation.control}
        wrong += [f"{name} needs scripted experts, who play Adversarial Taboo alone: switch it off" for name, on in asked.items() if on]
    if wrong:
        raise ValueError("; ".join(wrong))


def _wrong_rule(config: TrainConfig) -> list[str]:
    if config.rule not in RULES:
        return [f"unknown rule {config.rule!r}; {near(config.rule, RULES)}"]
    if config.rule != TrainConfig.rule and not config.game.startswith("AdversarialTaboo"):
        return [f"rule {config.rule} is of Adversarial Taboo's judge; {config.game} has none to choose"]
    return []


def _wrong_seats(config: TrainConfig) -> list[str]:
    """Of a game that is known."""
    game, wrong = make_game(config.game), []
    if config.role not in ("both", *game.roles):
        wrong.append(f"unknown role {config.role!r}; {near(config.role, ('both', *game.roles))}")
    elif config.role == "both" and config.opponent is not None:
        wrong.append(f"opponent {config.opponent} plays against one role: set role to one of {', '.join(game.roles)}")
    elif config.role != "both" and config.opponent is None:
        wrong.append(f"role {config.role} needs an opponent")
    for reason in config.drop_reasons or ():
        if reason not in game.reasons:
            wrong.append(f"drop_reasons: {config.game} has no outcome {reason!r}; {near(reason, game.reasons)}")
    return wrong
