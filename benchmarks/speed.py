"""The speed of self-play: the same games through our generation loop and through the loops that people otherwise use.

    python -m sparring.benchmarks.speed --games 256 --runs 5 --json

spag_loop: what SPAG's code does, `generate` per utterance over one lockstep batch, with the whole history rendered and prefilled at every
turn. ours: streams with kept caches, finished rows dropped and refilled. Same words, model, prompts, limits, sampling settings, stops,
precision and threads; runs are interleaved, and what counts is the ratio of medians. Useful tokens are sampled ones: no prompts, no
padding, nothing after an end token.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
import tyro

from sparring.agents.core import Sampling, derive_seed
from sparring.agents.language_model import LanguageModel, ModelAgent, load_language_model
from sparring.agents.names import model_card, model_place
from sparring.agents.rollout import play_all
from sparring.envs import games as _games  # noqa: F401  registers the games
from sparring.envs.core import Game, State, Task, make_game
from sparring.envs.views import Prompts
from sparring.envs.words import word_list
from sparring.selfplay.evaluate import schedule
from sparring.selfplay.run_folder import provenance


@dataclass(frozen=True)
class SpeedConfig:
    """What is measured."""

    model: str = "mini@imitation"
    """Who plays both seats."""
    games: int = 256
    """Games of one run."""
    runs: int = 5
    """Interleaved runs of each loop, after one of each that is not counted."""
    batches: tuple[int, ...] = (64, 128, 256)
    """Batch sizes that the compared loop is tried with; its best one counts."""
    temperature: float = 1.0
    """Sampling temperature."""
    seed: int = 0
    """Decides words and what is said."""
    device: str | None = None
    """None: a GPU if there is one."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True)
class Run:
    """One run of one loop. tokens: useful ones. utterances: played."""

    seconds: float
    tokens: int
    utterances: int
    games: int


@dataclass(frozen=True)
class Setting:
    """What both loops get."""

    model: LanguageModel
    prompts: Prompts
    sampling: Sampling
    game: Game
    words: Sequence[str]
    seed: int


def ours(setting: Setting, games: int) -> Run:
    """Our loop."""
    player = ModelAgent(setting.model, setting.prompts, setting.sampling)
    matches = schedule(dict.fromkeys(setting.game.roles, player), setting.game, setting.words, games, setting.seed)
    began = time.perf_counter()
    played = play_all(matches)
    seconds = time.perf_counter() - began
    replies = [reply for p in played for reply in p.replies]
    return Run(seconds, sum(reply.tokens for reply in replies), len(replies), games)


def spag_loop(setting: Setting, games: int, batch: int) -> Run:
    """`generate` per utterance; games in lockstep, `batch` at a time."""
    torch.manual_seed(setting.seed)
    tokens = utterances = 0
    began = time.perf_counter()
    for start in range(0, games, batch):
        states: list[State] = []
        for i in range(start, min(games, start + batch)):
            word = setting.words[i % len(setting.words)]
            states.append(setting.game.start(Task(f"{i}", word, word, derive_seed(setting.seed, word, i))))
        while active := [i for i, state in enumerate(states) if state.to_act is not None]:
            texts, counts, cut = _generate(setting, [states[i] for i in active])
            tokens += sum(counts)
            utterances += len(active)
            for i, text, truncated in zip(active, texts, cut, strict=True):
                states[i] = states[i].apply(text, truncated=truncated)
    return Run(time.perf_counter() - began, tokens, utterances, games)


def _generate(setting: Setting, states: Sequence[State]) -> tuple[list[str], list[int], list[bool]]:
    """One utterance for each state, from its whole history: texts, sampled tokens, and whether the limit was reached."""
    model, chat = setting.model.model, setting.model.format
    prompts = []
    for state in states:
        role = state.to_act
        assert role is not None
        prompts.append(_history(setting, state, role))
    width = max(map(len, prompts))
    pad = setting.model.tokenizer.pad_token_id or 0
    ids = torch.full((len(prompts), width), pad, device=model.device)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            temperature=setting.sampling.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=setting.sampling.max_new_tokens,
            eos_token_id=sorted(chat.end_ids),
            pad_token_id=pad,
        )[:, width:].tolist()
    texts, counts, cut = [], [], []
    for row in out:
        end = next((place for place, token in enumerate(row) if token in chat.end_ids), None)
        said = row if end is None else row[: end + 1]
        texts.append(chat.split_thinking(chat.decode(said))[1])
        counts.append(len(said))
        cut.append(end is None)
    return texts, counts, cut


def _history(setting: Setting, state: State, role: str) -> list[int]:
    """The ids of a role's whole view, rendered anew."""
    chat = setting.model.format
    messages = setting.prompts.render(state.observe(role))
    last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
    if last < 0:
        return chat.open(messages)
    ids, _ = chat.conversation(messages[: last + 1])
    return ids + chat.extend(messages[last + 1 :], ended=True)


def measure(config: SpeedConfig) -> dict[str, Any]:
    """All figures: per loop every run, medians, and ratios of useful tokens per second."""
    card = model_card(config.model)
    model = load_language_model(model_place(config.model), name=config.model, device=config.device)
    sampling = Sampling(config.temperature, max_new_tokens=card.max_new_tokens)
    setting = Setting(model, card.prompts, sampling, make_game("AdversarialTaboo"), word_list("everyday"), config.seed)
    trials = {batch: spag_loop(setting, max(batch, config.games // 4), batch) for batch in config.batches}
    best = max(trials, key=lambda batch: trials[batch].tokens / trials[batch].seconds)
    loops: dict[str, Callable[[Setting], Run]] = {
        "ours": lambda s: ours(s, config.games),
        "spag_loop": lambda s: spag_loop(s, config.games, best),
    }
    found: dict[str, list[Run]] = {name: [] for name in loops}
    for number in range(config.runs + 1):
        for name, loop in loops.items():
            run = loop(replace(setting, seed=derive_seed(config.seed, number)))
            if number:
                found[name].append(run)
    rates = {name: median(run.tokens / run.seconds for run in runs) for name, runs in found.items()}
    return {
        "ratios": {name: rates["ours"] / rate for name, rate in rates.items() if name != "ours"},
        "tokens_per_second": rates,
        "games_per_second": {name: median(run.games / run.seconds for run in runs) for name, runs in found.items()},
        "batch": {"spag_loop": best},
        "runs": {name: [vars(run) for run in runs] for name, runs in found.items()},
        "provenance": provenance(config.seed, model=config.model, threads=torch.get_num_threads(), cores=os.cpu_count()),
    }


def main(config: SpeedConfig) -> None:
    result = measure(config)
    if config.json:
        print(json.dumps(result, sort_keys=True))
        return
    for name, rate in result["tokens_per_second"].items():
        print(f"{name:<12} {rate:10,.0f} useful tokens/s  {result['games_per_second'][name]:8,.1f} games/s")
    for name, ratio in result["ratios"].items():
        print(f"ours / {name}: {ratio:.2f}")


if __name__ == "__main__":
    main(tyro.cli(SpeedConfig, description=__doc__))
