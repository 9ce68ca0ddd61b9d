"""The settings of a training run: frozen dataclasses whose ranges stand at the fields.

A resolved configuration holds no "automatic" values: what a preset chose for a model stands in the file.
Knows nothing of how it is used, and imports nothing heavy; what contradicts what is in `consistency.py`.
"""

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sparring.agents.models.memory import MOST_GIB

from .checks import above, at_least, below

BASE_TEXTS, EXPERT_GAMES, NO_MIX = NAMED_SOURCES = "base", "experts", "none"
"""Sources of the SFT mix that are no file: the embedded model's base texts, new games of the scripted
experts, and nothing."""


@dataclass(frozen=True)
class SFTConfig:
    """Supervised fine-tuning (SFT) on demonstrations before self-play."""

    steps: int = field(default=0, metadata=at_least(0))
    """Optimiser steps; 0 leaves it out. Fewer: malformed talk; more: nothing after the plateau."""
    minibatch: int = field(default=64, metadata=at_least(1))
    """Conversations in one step, those of sft_mix included."""
    lr: float = field(default=1e-3, metadata=at_least(0))
    """Learning rate. Half of it left a 1 M-parameter model unable to declare; a model of billions wants
    about 5e-6."""
    mix_share: float = field(default=0.3, metadata=below(1))
    """Share of every step's conversations that come from sft_mix."""
    games: int = field(default=20_000, metadata=at_least(0))
    """Games of scripted experts to draw from at random, each a conversation per role. Conversations of a
    file come in shuffled passes instead."""
    data: Path | None = None
    """A file of games or conversations to learn from, as sparring collect writes, or SPAG's, or TRL's; of
    games the winner's side. None: scripted experts, or where they do not know the words, the file of
    sft_mix."""
    experts: Literal["mixed", "clear"] = "mixed"
    """Which scripted experts: mixed (many styles, imperfect on purpose) or clear (their hints and requests
    fit few words, and they declare when they are sure: games that are won by knowing words, as a language
    model does)."""
    winners_only: bool = False
    """Learn from the winner's side of a game only; each role weighs half, however seldom it wins, as in
    SPAG; ties are dropped. In files of games the winner's side is always taken, with this weighed so."""
    kl: float = field(default=0.0, metadata=at_least(0))
    """Weight of SPAG's KL to the model as it came (0.1 there). Above 0 every conversation counts alike,
    however long."""


@dataclass(frozen=True)
class SFTMixConfig:
    """Supervised conversations mixed into every update of self-play, against forgetting."""

    source: str = BASE_TEXTS
    """Where they come from: base (the embedded model's base texts), experts (new games of sft.experts),
    none, or a file (docs/formats.md)."""
    fraction: float = field(default=0.25, metadata=at_least(0, 100))
    """Conversations beside each optimiser step, as a fraction of learner.minibatch. More: less forgotten,
    slower."""
    weight: float = field(default=0.5, metadata=at_least(0))
    """Weight of their loss."""

    def per_step(self, minibatch: int) -> int:
        """Conversations beside an optimiser step of so many samples."""
        return 0 if self.source == NO_MIX else round(self.fraction * minibatch)


@dataclass(frozen=True)
class EvaluationConfig:
    """Measurement against the frozen initial model and against scripted players."""

    games: int = field(default=200, metadata=at_least(0))
    """Games per cell (opponent, role, word group); 0 plays none. An interval is about 0.98/sqrt(games) to
    each side."""
    every: int = field(default=0, metadata=at_least(0))
    """Which rounds are measured besides the first model and the last: every n-th; 0: none."""
    temperature: float = field(default=0.5, metadata=at_least(0))
    """Sampling temperature of both players. 0 is greedy, and then only the words make games differ."""
    control: bool = True
    """Whether a copy of the first model learns from scripted experts with as many tokens as self-play had,
    and is measured too."""
    scripted: bool = True
    """Whether scripted players are opponents too. They know the everyday world only and are left out on
    other words."""


@dataclass(frozen=True)
class LearnerConfig:
    """The update."""

    lr: float = field(default=3e-4, metadata=at_least(0))
    """Learning rate of AdamW; 1e-3 destroyed facts and truth in a model of 1 M parameters."""
    adamw: tuple[float, float, float] = field(default=(0.9, 0.95, 0.0), metadata=below(1))
    """AdamW's two averages and its decoupled weight decay."""
    epochs: int = field(default=1, metadata=at_least(1))
    """Passes over a round's samples. More: more learnt from a round, further off policy."""
    minibatch: int = field(default=64, metadata=at_least(1))
    """Samples (of pairs: pairs) in one optimiser step, without the SFT mix."""
    token_budget: int = field(default=8192, metadata=at_least(1))
    """Most tokens in one forward pass, padding included where samples cannot be packed; halved at the
    beginning of a run until a pass fits into half of the free memory. Decides memory, never results."""
    gradient_checkpointing: bool = False
    """Layers keep their inputs only and are computed again in the backward pass: a third slower, far less
    memory, same results."""
    lora_rank: int = field(default=0, metadata=at_least(0))
    """Rank of a LoRA adapter (extra peft); 0 trains all weights. Larger: more can be learnt, more memory.
    LoRA wants about ten times the learning rate."""
    four_bit: bool = False
    """QLoRA: the frozen model's weights in four bits (extra qlora). Needs lora_rank. Run on a CPU so far,
    never on a GPU."""
    clip: tuple[float, float] = field(default=(0.2, 0.2), metadata=at_least(0))
    """PPO clip below and above 1. A larger second number lets unlikely tokens grow faster."""
    kl: float = field(default=0.1, metadata=at_least(0))
    """Weight of KL(model || reference). Larger: closer to it, slower to learn."""
    kl_form: Literal["auto", "exact", "sampled", "reward"] = "auto"
    """How the KL enters: exact (sum over the vocabulary), sampled (ratio * k3 on the tokens that were
    drawn), reward (k1, off the advantages, as SPAG has it), auto (exact for small vocabularies, else
    sampled)."""
    reference: Literal["initial", "behaviour"] = "initial"
    """The reference policy of KL, DPO and IPO: initial (the model of round 0, frozen), behaviour (the
    weights that played the round, as in SPAG)."""
    aggregation: str = "token"
    """How tokens make a loss: token (mean over tokens), sequence (mean over samples of their token means),
    constant:N (sum over tokens / (samples * N), as Dr. GRPO)."""
    grad_clip: float = field(default=1.0, metadata=above(0))
    """Largest norm of a step's gradient."""
    schedule: str = "constant"
    """The learning rate: constant, or cosine or linear, which fall towards 0 at the end of the run, or of
    each round where a method begins its optimiser anew in every round (spag). Steps of a warm-up stand
    behind a colon, as cosine:20."""

    @property
    def decay(self) -> str:
        """The schedule without its warm-up."""
        return self.schedule.partition(":")[0]

    @property
    def warmup(self) -> int | None:
        """Optimiser steps until the full learning rate; None where the schedule does not name a whole number."""
        _, colon, steps = self.schedule.partition(":")
        return int(steps) if re.fullmatch("[0-9]{1,9}", steps) else None if colon else 0

    @property
    def divisor(self) -> int | None:
        """N of the aggregation constant:N; None of any other."""
        match = re.fullmatch("constant:([1-9][0-9]{0,8})", self.aggregation)
        return int(match[1]) if match else None


LIMITS: Mapping[str, float | None] = types.MappingProxyType(
    {
        "start": None,
        "entropy": 0.5,
        "reward_std": 0.3,
        "mute": 0.2,
        "repeated": 0.2,
        "imbalance": 0.85,
        "decisive": 0.05,
        "ties": 0.6,
        "fouls": 0.2,
        "mismatch_kl": 0.01,
        "grad_norm": 10.0,
        "truth": 0.1,
    }
)
"""Limits of alarms where a run sets no others.

start: least share of games of the first model against itself that end by a right guess or an uttered word; below it self-play
does not begin. entropy: least entropy per token, as a share of the first round's. reward_std: least standard deviation of
returns, either role's. mute: largest share of games lost by silence or over-long speech. repeated: largest share of utterances
that their speaker has said before in the same game. imbalance: largest share of decided games that one role wins. decisive:
least share of games that end by a right guess or an uttered word; only of games that know these. ties: largest share of ties.
fouls: largest share of games lost by a foul. mismatch_kl: largest KL(sampler || learner) before a round's first step.
grad_norm: largest norm of a step's gradient before clipping, as a multiple of the first round's mean, or of 1 where that was
below 0.001. truth: largest fall of the share of true hints below the first round's; only where truth is known.
"""


@dataclass(frozen=True)
class AlarmsConfig:
    """When a round is unhealthy, and what happens then."""

    action: Literal["warn", "stop", "rollback"] = "warn"
    """warn: say so and go on. stop: end the run with the model of the last healthy round. rollback: go
    back to that model, halve the learning rate and play the round anew, three times at most."""
    limits: Mapping[str, float | None] = field(default_factory=dict)
    """Limits other than the usual ones, as entropy=0.4 ties=none (none: no alarm). docs/metrics.md lists
    them."""

    def limit(self, name: str) -> float | None:
        """The limit of an alarm; None where it is left out."""
        return self.limits.get(name, LIMITS[name])


@dataclass(frozen=True)
class TrainConfig:
    """One run of self-play training."""

    model: str = "mini@imitation"
    """Who learns: mini, mini@imitation, a model folder, hf:ID, RUN@N or RUN@latest."""
    game: str = "AdversarialTaboo"
    """AdversarialTaboo, AdversarialTaboo-DrawingOut (pays for drawing the word out), TwentyQuestions,
    TicTacToe, KuhnPoker, or textarena:ID (extra textarena)."""
    game_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the game, as max_turns=3 rule=family (docs/games.md)."""
    words: str = "everyday"
    """Secret words: everyday, common, band:1000-5000, or a file with one word a line; several with commas
    are a curriculum."""
    heldout: float = field(default=0.1, metadata=below(1))
    """Share of words never played, about. The everyday world brings its own groups and ignores this, as
    does LIST@train."""
    prompts: str = "card"
    """What players are told: card (what the model was trained with; the full rules, where it was not),
    brief, full, or a JSON file {"system": {role: text}, "opening": text} with texts of your own."""
    rounds: int = field(default=8, metadata=at_least(0))
    """Rounds of play and learning. 0: SFT and evaluation only."""
    games_per_round: int = field(default=512, metadata=at_least(1))
    """Games before each update, a multiple of group_size. More: steadier updates, slower rounds."""
    group_size: int = field(default=8, metadata=at_least(1))
    """Games about the same word in one round; "group" compares within them, so it needs at least 2."""
    temperature: float = field(default=1.0, metadata=above(0))
    """Sampling temperature of self-play. Higher explores more; far above 1 sentences break."""
    max_new_tokens: int = field(default=48, metadata=at_least(1))
    """Longest utterance in tokens; who does not end in time loses as over-long."""
    method: str = "group"
    """How the model learns: group, rae, turns, spag, spag-corrected, dpo, ipo, spin, expert,
    winning-expert, shuffled(METHOD), or your own, FILE.py:FUNCTION (docs/objectives.md)."""
    method_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the method, as discount=0.9 drop_reasons=foul,turn_limit (docs/objectives.md)."""
    role: str = "both"
    """Who is trained: both, or one role (attacker, defender) against a fixed opponent."""
    league: Mapping[str, str] = field(default_factory=dict)
    """Opponents besides the mirror, as draw=pfsp mirror=0.5 every=1 fixed=scripted,random; none given: no
    league (docs/league.md)."""
    opponent: str | None = None
    """The fixed opponent of a single role: any agent's name, as scripted, RUN@3, openai:MODEL@URL."""
    sft: SFTConfig = field(default_factory=SFTConfig)
    """Supervised fine-tuning on demonstrations before the first round."""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """The update."""
    sft_mix: SFTMixConfig = field(default_factory=SFTMixConfig)
    """Supervised conversations mixed into every update."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Win rates."""
    alarms: AlarmsConfig = field(default_factory=AlarmsConfig)
    """When a round is unhealthy, and what happens then."""
    tracker: str = "tensorboard"
    """Where a round's metrics go besides metrics.jsonl: tensorboard, or any other of accelerate's trackers
    that is installed, as wandb, mlflow, trackio; several with commas (docs/metrics.md)."""
    concurrency: int = field(default=256, metadata=at_least(1))
    """Games in play at once. More: faster, until memory is short."""
    max_memory: float = field(default=0.0, metadata=at_least(0, MOST_GIB))
    """GiB that cached keys and values may take; 0: on a CPU a quarter of the memory that is free. Less:
    fewer games at once, and talks computed again."""
    compile: bool = False
    """Compile the model for playing (torch.compile; on a GPU replayed as CUDA graphs). On a CPU that takes
    10 to 20 seconds at the start and gains the embedded model nothing where the package was installed with
    a C++ compiler."""
    keep_checkpoints: int = field(default=0, metadata=at_least(0))
    """Checkpoints kept besides the first and the last, counted back from the last; 0 keeps all, so that
    any two rounds can play each other."""
    seed: int = 0
    """Decides all that is drawn: equal seeds on one machine give equal games."""
    out: Path | None = None
    """The run folder, new or empty; else the first free runs/NAME-N."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What play computes in: float32; bfloat16 (on a CPU weights stay float32, and matrix products, keys
    and values are rounded); auto: bfloat16 on a GPU, and on a CPU where a trial with a large model finds
    it faster (docs/scale.md)."""

    def __post_init__(self) -> None:
        from .consistency import check  # which knows the games; a command line that shows its help needs none

        check(self)
