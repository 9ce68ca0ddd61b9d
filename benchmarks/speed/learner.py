"""The speed of the update: the same five-turn games as samples of our learner and as SPAG's rows, and what the model itself allows.

    python -m sparring.benchmarks.speed.learner
    python -m sparring.benchmarks.speed.learner --model random:100M --games 8 --token-budget 8192 --json

Forward and backward passes over all utterances of both players, by several ways that train the same tokens:

- ours: a sample per game and role, samples in one sequence, the head at trained tokens alone; padded: the same samples padded, sorted by
  length;
- spag_rows: SPAG's rows, one per utterance with its history repeated, through our learner; spag_code: the same samples as its code takes
  them, two at a time, padded as they come, with the logits of every token;
- plain: `model(input_ids, labels)` and its gradient on full rectangles of as many tokens as ours, without padding or loss; plain_cut: the
  same with logits at as many places as ours has trained tokens. The rates that ours is measured by.

Runs are interleaved; what counts are medians of ratios within one run.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from sparring.agents.core import derive_seed
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.rollout import Episode, play_all
from sparring.selfplay.config.config import LearnerConfig
from sparring.selfplay.evaluation.win_rates import schedule
from sparring.selfplay.learner.batch import Sample, sample_from_segment
from sparring.selfplay.learner.learner import Learner
from sparring.selfplay.objectives.policy_loss import PolicyLoss
from sparring.selfplay.objectives.sft_loss import SFTLoss
from sparring.selfplay.runtime.progress import Shown
from sparring.selfplay.storage.provenance import provenance

from ..command import command, say
from .common import Setting
from .generation import SpeedConfig, prepare
from .roofline import wait

PORTION = 64
"""Games played at a time, until enough of them went to the last turn."""
PORTIONS = 32


@dataclass(frozen=True)
class LearnerSpeedConfig:
    """What is measured."""

    model: str = "mini@imitation"
    """Whose games and gradient: a model's name, or random:15M, random:100M, random:0.5B, random:1.5B, random:7B for random weights."""
    games: int = 24
    """Games of all turns, ten utterances each."""
    runs: int = 5
    """Interleaved runs of each way."""
    token_budget: int = 2048
    """Tokens in one forward pass. Larger models on a GPU want 8192 or more."""
    gradient_checkpointing: bool = False
    """Layers are computed again in the backward pass, in ours and padded and in SPAG's rows."""
    seed: int = 0
    """Decides words and what is said."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, ..."""
    json: bool = False
    """Print one JSON object."""
    result: Path | None = None
    """Also write the JSON here."""

    def __post_init__(self) -> None:
        if min(self.games, self.runs, self.token_budget) < 1:
            raise ValueError("games, runs and token_budget must be at least 1")


def full_games(setting: Setting, games: int) -> list[Episode]:
    """Games that went to their last turn, the first so many. Raises ValueError where a model hardly ever gets there."""
    player = ModelAgent(setting.model, setting.prompts, setting.sampling)
    found: list[Episode] = []
    for portion in range(PORTIONS):
        seed = derive_seed(setting.seed, portion)
        episodes = play_all(schedule(dict.fromkeys(setting.game.roles, player), setting.game, setting.words, PORTION, seed))
        found += [p for p in episodes if len(p.state.utterances) == setting.game.horizon]
        if len(found) >= games:
            return found[:games]
    raise ValueError(f"of {PORTION * PORTIONS} games only {len(found)} went to their last turn: measure fewer games")


def samples_by_role(episode: Episode) -> list[Sample]:
    """Ours: a sample per role."""
    return [sample_from_segment(s, 1.0) for role in episode.match.game.roles for s in episode.segments[role] if s.loss_mask.any()]


def samples_by_utterance(episode: Episode) -> list[Sample]:
    """SPAG's: a sample per utterance, which alone is trained, after everything that was said before it."""
    samples = []
    for role in episode.match.game.roles:
        for segment in episode.segments[role]:
            for span in segment.turns:
                loss_mask = np.zeros(span.end, np.bool_)
                loss_mask[span.start :] = True
                cut = replace(segment, ids=segment.ids[: span.end], loss_mask=loss_mask, logprobs=segment.logprobs[: span.end])
                samples.append(sample_from_segment(cut, 1.0))
    return samples


def ways(learner: Learner, episodes: list[Episode], budget: int) -> dict[str, Callable[[], None]]:
    """By name, what computes the gradient of all games once."""
    ours = [sample for p in episodes for sample in samples_by_role(p)]
    published = [sample for p in episodes for sample in samples_by_utterance(p)]
    model, device = learner.scorer.unwrapped, learner.accelerator.device
    tokens, actions = (sum(found) for found in zip(*((len(sample.ids), sample.trained_tokens) for sample in ours), strict=True))
    length = round(tokens / len(ours))
    many = max(1, budget // length)
    generator = torch.Generator().manual_seed(0)
    whole = torch.randint(0, learner.scorer.vocabulary, (round(tokens / length), length), generator=generator).to(device)
    kept = torch.linspace(0, length - 2, max(1, round(actions / tokens * length)), device=device).long()

    def through_learner(samples: list[Sample], packed: bool) -> None:
        learner.scorer.packs = packed
        learner.gradients(samples)

    def as_spag_does() -> None:
        for start in range(0, len(published), 2):
            samples = published[start : start + 2]
            width = max(len(sample.ids) for sample in samples)
            ids, labels = torch.zeros(2, len(samples), width, dtype=torch.int64)
            mask = torch.zeros(len(samples), width, dtype=torch.int64)
            for i, sample in enumerate(samples):
                n = len(sample.ids)
                ids[i, :n], mask[i, :n] = torch.from_numpy(sample.ids), 1
                labels[i] = torch.where(torch.nn.functional.pad(torch.from_numpy(sample.loss_mask), (0, width - n)), ids[i], -100)
            model(input_ids=ids.to(device), attention_mask=mask.to(device), labels=labels.to(device), use_cache=False).loss.backward()
        model.zero_grad()

    def plain() -> None:
        for ids in whole.split(many):
            model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        model.zero_grad()

    def plain_cut() -> None:
        for ids in whole.split(many):
            logits = model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
            cross_entropy(logits.flatten(0, 1).float(), ids[:, kept + 1].flatten()).backward()
        model.zero_grad()

    packs = learner.scorer.packs
    return {
        "ours": lambda: through_learner(ours, packs),
        "padded": lambda: through_learner(ours, False),
        "spag_rows": lambda: through_learner(published, packs),
        "spag_code": as_spag_does,
        "plain": plain,
        "plain_cut": plain_cut,
    }


def measure(config: LearnerSpeedConfig) -> dict[str, Any]:
    """All figures: tokens and seconds per game by each way, every run, and medians of ratios."""
    setting = prepare(SpeedConfig(model=config.model, seed=config.seed, device=config.device))
    episodes = full_games(setting, config.games)
    told = LearnerConfig(kl=0.0, token_budget=config.token_budget, gradient_checkpointing=config.gradient_checkpointing)
    learner = Learner(setting.model.model, PolicyLoss(), sft_mix_loss=SFTLoss("sft_mix_loss"), config=told)
    packed = learner.scorer.packs
    found = ways(learner, episodes, config.token_budget)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    with Shown().phase("gradients, by every way", (config.runs + 1) * len(found), "runs") as advance:
        for number in range(config.runs + 1):
            for name, once in found.items():
                wait(learner.accelerator.device)
                began = time.perf_counter()
                once()
                wait(learner.accelerator.device)
                if number:  # the first run warms up
                    seconds[name].append(time.perf_counter() - began)
                advance(1)
    samples = {"ours": samples_by_role, "spag_rows": samples_by_utterance}
    tokens = {name: sum(len(sample.ids) for p in episodes for sample in of(p)) / len(episodes) for name, of in samples.items()}
    trained = {name: sum(sample.trained_tokens for p in episodes for sample in of(p)) / len(episodes) for name, of in samples.items()}

    def against(name: str) -> float:
        return median(other / own for own, other in zip(seconds["ours"], seconds[name], strict=True))

    return {
        "schema": 1,
        "settings": {**vars(config), "result": None},
        "parameters": sum(p.numel() for p in setting.model.model.parameters()),
        "packed": packed,
        "tokens_per_game": tokens,
        "trained_tokens_per_game": trained,
        "seconds_per_game": {name: median(times) / len(episodes) for name, times in seconds.items()},
        "ratios": {
            "tokens_spag_rows": tokens["spag_rows"] / tokens["ours"],
            **{f"seconds_{name}": against(name) for name in ("spag_rows", "spag_code", "padded")},
        },
        "share_of_rate": {name: against(name) for name in ("plain", "plain_cut")},
        "runs": seconds,
        "provenance": provenance(config.seed),
    }


def show(result: Mapping[str, Any]) -> None:
    ratios, share = result["ratios"], result["share_of_rate"]
    print(f"{'':<10} {'ms per game':>12}")
    for name, seconds in result["seconds_per_game"].items():
        print(f"{name:<10} {1000 * seconds:12.1f}")
    ours, theirs = (result["tokens_per_game"][name] for name in ("ours", "spag_rows"))
    print(f"tokens per game: {ours:,.0f}, as SPAG's rows {theirs:,.0f} ({ratios['tokens_spag_rows']:.2f} times)")
    print(f"SPAG's rows: {ratios['seconds_spag_rows']:.2f} times our seconds, taken as its code does {ratios['seconds_spag_code']:.2f}")
    print(f"padding takes {ratios['seconds_padded']:.2f} times as long")
    print(f"share of the model's plain rate: {share['plain']:.0%}; with as few logits: {share['plain_cut']:.0%}")


def main(config: LearnerSpeedConfig) -> None:
    say(measure(config), show, as_json=config.json, file=config.result)


if __name__ == "__main__":
    command("speed.learner", LearnerSpeedConfig, main, __doc__)
