"""The speed of an update on games of all turns: samples alone, with shared beginnings, and with shared beginnings under bfloat16 autocast.

    python -m sparring.benchmarks.speed.update --model smollm2 --result benchmarks/results/learner_speed_smollm2.json

The games are of scripted experts, in groups about one word as in a round of training; each gives a sample per role, and so many samples,
drawn at random, are one optimiser step. Their gradient is computed in three ways, with the full rules as prompts and with brief ones.
Runs are interleaved; what counts are medians of ratios within one run. Beside the times stands how far the gradients are apart.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.agents.players.scripted import scripted
from sparring.agents.rollout import Episode, Match, play_all
from sparring.envs.games.prompts import PROMPTS
from sparring.selfplay.config.config import LearnerConfig
from sparring.selfplay.data.chats import sides, supervised
from sparring.selfplay.data.word_sets import round_tasks
from sparring.selfplay.learner.batch import Sample, collate, micro_batches
from sparring.selfplay.learner.learner import Learner
from sparring.selfplay.objectives.policy_loss import PolicyLoss
from sparring.selfplay.objectives.sft_loss import SFTLoss
from sparring.selfplay.runtime.progress import Shown
from sparring.selfplay.storage.provenance import provenance

from ..command import command, say
from .common import Setting
from .generation import SpeedConfig, prepare
from .roofline import wait

GROUP = 8
"""Games about one word."""
PORTION = 512
"""Games that experts play at a time, until enough words have a whole group of games of all turns."""
WAYS: Mapping[str, tuple[bool, torch.dtype]] = {
    "alone": (False, torch.float32),
    "shared": (True, torch.float32),
    "shared_bfloat16": (True, torch.bfloat16),
}
"""Whether beginnings are shared, and what products are computed in."""


@dataclass(frozen=True)
class UpdateSpeedConfig:
    """What is measured."""

    model: str = "smollm2"
    """Whose gradient: a model's name, or random:15M, random:100M, random:0.5B, random:1.5B, random:7B for random weights."""
    samples: int = 64
    """Samples of one optimiser step."""
    runs: int = 3
    """Interleaved runs of each way."""
    seconds: float = 420.0
    """No run begins later than this."""
    token_budget: int = 4096
    """Tokens in one forward pass."""
    seed: int = 0
    """Decides words and what is said."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, ..."""
    json: bool = False
    """Print one JSON object."""
    result: Path | None = None
    """Also write the JSON here."""

    def __post_init__(self) -> None:
        if min(self.samples, self.runs, self.token_budget) < 1:
            raise ValueError("samples, runs and token_budget must be at least 1")


def group_games(setting: Setting, games: int) -> list[Episode]:
    """At least so many games of experts that went to their last turn, in groups about one word."""
    player, groups = scripted(), dict[str, list[Episode]]()
    while sum(len(group) == GROUP for group in groups.values()) * GROUP < games:
        seed = setting.seed + len(groups)
        tasks = round_tasks(setting.words, PORTION, GROUP, seed, "update")
        agents = dict.fromkeys(setting.game.roles, player)
        for episode in play_all([Match(f"{task.id}/{seed}", setting.game, task, agents, seed + i) for i, task in enumerate(tasks)]):
            group = groups.setdefault(episode.match.task.secret, [])
            if len(episode.state.utterances) == setting.game.horizon and len(group) < GROUP:
                group.append(episode)
    return [episode for group in groups.values() if len(group) == GROUP for episode in group]


def policy_samples(setting: Setting, episodes: Sequence[Episode], prompts: str, count: int) -> list[Sample]:
    """So many samples of games, drawn by the seed, each as if its tokens had been sampled."""
    chats = [chat for episode in episodes for chat in sides(episode, PROMPTS[prompts])]
    drawn = random.Random(setting.seed).sample(chats, k=min(count, len(chats)))
    samples = supervised(drawn, setting.model.format)
    return [
        replace(sample, sampler_logprobs=np.zeros(len(sample.ids), np.float32), advantages=sample.loss_mask.astype(np.float32))
        for sample in samples
    ]


def measure(config: UpdateSpeedConfig) -> dict[str, Any]:
    """All figures: by prompts and way, every run; medians of ratios; tokens; how far gradients are from those of samples alone."""
    began = time.perf_counter()
    setting = prepare(SpeedConfig(model=config.model, seed=config.seed, device=config.device))
    settings = LearnerConfig(kl=0.0, token_budget=config.token_budget)
    learners = {
        products: Learner(setting.model.model, PolicyLoss(), sft_mix_loss=SFTLoss("sft_mix_loss"), config=settings, products=products)
        for products in {products for _, products in WAYS.values()}
    }
    episodes = group_games(setting, config.samples)
    samples = {prompts: policy_samples(setting, episodes, prompts, config.samples) for prompts in ("full", "brief")}
    seconds: dict[str, dict[str, list[float]]] = {prompts: {way: [] for way in WAYS} for prompts in samples}
    apart: dict[str, dict[str, float]] = {prompts: {} for prompts in samples}

    def once(way: str, some: Sequence[Sample]) -> tuple[float, dict[str, Tensor]]:
        shared, products = WAYS[way]
        learner = learners[products]
        learner.scorer.shares = shared
        wait(learner.accelerator.device)
        start = time.perf_counter()
        gradient = learner.gradients(some)
        wait(learner.accelerator.device)
        return time.perf_counter() - start, gradient

    for way in WAYS:  # warms up
        once(way, samples["full"][:4])
    with Shown().phase("gradients, by every way", config.runs * len(WAYS) * len(samples), "runs") as advance:
        for number in range(config.runs):
            if number and time.perf_counter() - began > config.seconds:
                break
            for prompts, some in samples.items():
                alone: dict[str, Tensor] = {}
                for way in WAYS:
                    taken, gradient = once(way, some)
                    seconds[prompts][way].append(taken)
                    alone = alone or gradient
                    if number == 0 and way != "alone":
                        apart[prompts][way] = difference(gradient, alone)
                    advance(1)
    return {
        "schema": 1,
        "settings": {**vars(config), "result": None},
        "parameters": sum(p.numel() for p in setting.model.model.parameters()),
        "tokens": {prompts: _tokens(some, config.token_budget) for prompts, some in samples.items()},
        "samples_per_second": {
            prompts: {way: len(samples[prompts]) / median(times) for way, times in by_way.items()} for prompts, by_way in seconds.items()
        },
        "speedup": {
            prompts: {way: median(a / b for a, b in zip(by_way["alone"], by_way[way], strict=True)) for way in WAYS if way != "alone"}
            for prompts, by_way in seconds.items()
        },
        "gradient_difference": apart,
        "runs": seconds,
        "provenance": provenance(config.seed),
    }


def difference(gradient: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The norm of the difference of gradients as a share of the other's norm."""
    squares = [((gradient[name] - other[name]).double().square().sum(), other[name].double().square().sum()) for name in other]
    return float(sum(d for d, _ in squares) ** 0.5 / sum(n for _, n in squares) ** 0.5)


def _tokens(samples: Sequence[Sample], budget: int) -> dict[str, int]:
    """Tokens of samples, those that are trained on, and those that are computed where beginnings are shared."""
    parts = micro_batches(samples, budget, packed=True, shared=True)
    return {
        "all": sum(len(sample.ids) for sample in samples),
        "trained": sum(sample.trained_tokens for sample in samples),
        "computed_shared": sum(collate(part, packed=True, shared=True).ids.numel() for part in parts),
    }


def show(result: Mapping[str, Any]) -> None:
    for prompts, rates in result["samples_per_second"].items():
        tokens = result["tokens"][prompts]
        print(f"{prompts} prompts: {tokens['all']:,} tokens, {tokens['computed_shared']:,} with shared beginnings")
        for way, rate in rates.items():
            speedup = result["speedup"][prompts].get(way, 1.0)
            apart = result["gradient_difference"][prompts].get(way, 0.0)
            print(f"  {way:<16} {rate:8.2f} samples/s  {speedup:5.2f} times  gradient {apart:.1e} off")


def main(config: UpdateSpeedConfig) -> None:
    say(measure(config), show, as_json=config.json, file=config.result)


if __name__ == "__main__":
    command("speed.update", UpdateSpeedConfig, main, __doc__)
