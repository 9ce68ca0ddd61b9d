"""Ways of playing games with one model, ours and those that people otherwise use, for benchmarks/speed.py.

Each takes a `Setting` and a number of games and plays them by the same rules, prompts, limits, sampling and stops. What counts are useful
tokens: sampled ones, end tokens included; no prompts, no padding, nothing after an end token.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sparring.agents.core import Sampling, derive_seed
from sparring.agents.language_model import LanguageModel, ModelAgent
from sparring.agents.rollout import play_all
from sparring.envs.core import Game, State, Task
from sparring.envs.views import Prompts
from sparring.selfplay.evaluate import schedule


@dataclass(frozen=True)
class Setting:
    """What all loops get."""

    model: LanguageModel
    prompts: Prompts
    sampling: Sampling
    game: Game
    words: Sequence[str]
    seed: int
    share: tuple[int, int] = (0, 1)
    """Which games these loops play: those whose number leaves the first when divided by the second."""

    def numbers(self, games: int) -> range:
        """The numbers of those among so many games."""
        return range(games)[self.share[0] :: self.share[1]]


@dataclass(frozen=True)
class Run:
    """One run of one loop. tokens: useful ones. utterances: played. work: what our loop had to compute, see `Work`; None of others."""

    seconds: float
    tokens: int
    utterances: int
    games: int
    work: "Work | None" = None


@dataclass(frozen=True)
class Work:
    """steps: forward passes. rows: decoded rows, over all steps. prefilled: tokens computed without one being drawn from them.
    attended: cached positions that decoded tokens attended to, over all of them.
    """

    steps: int
    rows: int
    prefilled: int
    attended: int


PAGE = 32
"""Positions in a page of the continuous batching."""

Loop = Callable[[Setting, int, int], Run]
"""(setting, games of which the setting's share is played, games in play at once)."""


def ours(setting: Setting, games: int, batch: int) -> Run:
    """Streams with kept caches; finished rows leave at once, and other games or the other role take their place."""
    player = ModelAgent(setting.model, setting.prompts, setting.sampling)
    matches = schedule(dict.fromkeys(setting.game.roles, player), setting.game, setting.words, games, setting.seed)
    matches = [matches[number] for number in setting.numbers(games)]
    counters = setting.model.loop.counters
    before = (counters.steps, counters.rows, counters.prefilled)
    began = time.perf_counter()
    played = play_all(matches, concurrency=batch)
    seconds = time.perf_counter() - began
    steps, rows, prefilled = (now - then for now, then in zip((counters.steps, counters.rows, counters.prefilled), before, strict=True))
    replies = [reply for p in played for reply in p.replies]
    segments = [segment for p in played for role in setting.game.roles for segment in p.segments[role]]
    attended = sum(int(np.flatnonzero(segment.action).sum()) for segment in segments)
    return Run(seconds, sum(reply.tokens for reply in replies), len(replies), len(played), Work(steps, rows, prefilled, attended))


def spag_loop(setting: Setting, games: int, batch: int) -> Run:
    """What SPAG's code does: `generate` per utterance, `batch` games in lockstep, the whole history rendered and prefilled every turn."""
    torch.manual_seed(setting.seed)
    tokens = utterances = 0
    began = time.perf_counter()
    numbers = setting.numbers(games)
    for start in range(0, len(numbers), batch):
        states = [_start(setting, i) for i in numbers[start : start + batch]]
        while active := [i for i, state in enumerate(states) if state.to_act is not None]:
            replies = _generate(setting, [_history(setting, states[i]) for i in active])
            for i, reply in zip(active, replies, strict=True):
                states[i] = _said(setting, states[i], reply)
            tokens += sum(map(len, replies))
            utterances += len(active)
    return Run(time.perf_counter() - began, tokens, utterances, len(numbers))


def continuous_batching(setting: Setting, games: int, batch: int) -> Run:
    """Continuous batching of transformers, `batch` games at once: a request per utterance with its whole history; blocks of equal prefixes
    are shared, and games do not wait for each other.
    """
    began = time.perf_counter()
    tokens = utterances = 0
    states = {str(i): _start(setting, i) for i in setting.numbers(games)}
    waiting = list(states)[::-1]
    live = 0
    with _continuous(setting, batch) as manager:

        def ask(name: str) -> None:
            manager.add_request(
                _history(setting, states[name]),
                request_id=name,
                max_new_tokens=setting.sampling.max_new_tokens,
                eos_token_id=sorted(setting.model.format.end_ids),
            )

        while waiting or live:
            while waiting and live < batch:
                ask(waiting.pop())
                live += 1
            result = manager.get_result(timeout=60)
            if result is None or result.error:
                raise RuntimeError(f"continuous batching failed: {result.error if result else 'no answer in a minute'}")
            reply = _cut(setting, result.generated_tokens)
            states[result.request_id] = _said(setting, states[result.request_id], reply)
            tokens += len(reply)
            utterances += 1
            if states[result.request_id].to_act is None:
                live -= 1
            else:
                ask(result.request_id)
    return Run(time.perf_counter() - began, tokens, utterances, len(states))


LOOPS: dict[str, Loop] = {"ours": ours, "spag_loop": spag_loop, "continuous_batching": continuous_batching}


def _reply_ours(setting: Setting, prompts: Sequence[Sequence[int]], tokens: int) -> float:
    loop = setting.model.loop
    began = time.perf_counter()
    for i, prompt in enumerate(prompts):
        loop.submit(f"reply-{i}", prompt, Sampling(1.0, max_new_tokens=tokens, min_new_tokens=tokens), i)
    left = len(prompts)
    while left:
        left -= len(loop.poll())
    seconds = time.perf_counter() - began
    for i in range(len(prompts)):
        loop.close(f"reply-{i}")
    return seconds


def _reply_generate(setting: Setting, prompts: Sequence[Sequence[int]], tokens: int) -> float:
    began = time.perf_counter()
    _generate(setting, prompts, tokens, exactly=True)
    return time.perf_counter() - began


def _reply_continuous(setting: Setting, prompts: Sequence[Sequence[int]], tokens: int) -> float:
    began = time.perf_counter()
    with _continuous(setting, len(prompts)) as manager:
        for prompt in prompts:
            manager.add_request(list(prompt), max_new_tokens=tokens, eos_token_id=-1)
        for _ in prompts:
            if manager.get_result(timeout=60) is None:
                raise RuntimeError("continuous batching gave no answer in a minute")
        # Stopping the manager waits for its thread, which is no part of answering.
        seconds = time.perf_counter() - began
    return seconds


ENGINES: dict[str, Callable[[Setting, Sequence[Sequence[int]], int], float]] = {
    "ours": _reply_ours,
    "spag_loop": _reply_generate,
    "continuous_batching": _reply_continuous,
}
"""What each loop generates with: the seconds that replies of exactly so many tokens to all prompts take."""


def _continuous(setting: Setting, batch: int) -> AbstractContextManager[Any]:
    """A manager of continuous batching for `batch` requests at once."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    options = GenerationConfig(
        do_sample=True,
        temperature=setting.sampling.temperature,
        top_k=0,
        top_p=1.0,
        max_new_tokens=setting.sampling.max_new_tokens,
        eos_token_id=sorted(setting.model.format.end_ids),
        pad_token_id=setting.model.tokenizer.pad_token_id or 0,
    )
    # Pages as small as histories need to be shared; what a batch holds fits, so that nothing is ever evicted.
    blocks = batch * -(-min(setting.model.loop.max_length, 512) // PAGE)
    limits = ContinuousBatchingConfig(
        page_size=PAGE, num_blocks=blocks, max_batch_tokens=2048, max_requests_per_batch=batch, seed=setting.seed % 2**31
    )
    model: Any = setting.model.model
    manager: AbstractContextManager[Any] = model.continuous_batching_context_manager(
        generation_config=options, continuous_batching_config=limits, warmup=False
    )
    return manager


def _start(setting: Setting, number: int) -> State:
    word = setting.words[number % len(setting.words)]
    return setting.game.start(Task(f"{number}", word, word, derive_seed(setting.seed, word, number)))


def _said(setting: Setting, state: State, reply: Sequence[int]) -> State:
    """The state after a reply in ids."""
    chat = setting.model.format
    return state.apply(chat.split_thinking(chat.decode(reply))[1], truncated=not (reply and reply[-1] in chat.end_ids))


def _cut(setting: Setting, ids: Sequence[int]) -> list[int]:
    """A reply up to its first end token, included."""
    end = next((place for place, token in enumerate(ids) if token in setting.model.format.end_ids), None)
    return list(ids) if end is None else list(ids[: end + 1])


def _history(setting: Setting, state: State) -> list[int]:
    """The ids of the whole view of the role that is to act, rendered anew."""
    assert state.to_act is not None
    chat = setting.model.format
    messages = setting.prompts.render(state.observe(state.to_act))
    last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
    if last < 0:
        return chat.open(messages)
    ids, _ = chat.conversation(messages[: last + 1])
    return ids + chat.extend(messages[last + 1 :], ended=True)


def _generate(setting: Setting, prompts: Sequence[Sequence[int]], limit: int | None = None, *, exactly: bool = False) -> list[list[int]]:
    """One reply for each prompt, by `generate` over all of them, padded on the left. exactly: of `limit` tokens, whatever they are."""
    model: Any = setting.model.model
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
            max_new_tokens=limit or setting.sampling.max_new_tokens,
            min_new_tokens=limit if exactly else None,
            eos_token_id=sorted(setting.model.format.end_ids),
            pad_token_id=pad,
        )[:, width:].tolist()
    return [_cut(setting, row) for row in out]
