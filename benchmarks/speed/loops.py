"""Ways of playing games with one model, ours and those that people otherwise use, for benchmarks/speed/generation.py.

Each takes a `Setting` and a number of games and plays them by the same rules, prompts, limits, sampling and stops. What counts are useful
tokens: sampled ones, end tokens included; no prompts, no padding, nothing after an end token.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np
import torch

from sparring.agents.core import Sampling
from sparring.agents.players.model_agent import ModelAgent
from sparring.agents.rollout import play
from sparring.selfplay.evaluation.win_rates import schedule

from .common import Run, Setting, Work, cut, history, opening, said
from .llama_cpp import llama_cpp_loop, reply_llama
from .llama_server import llama_best, llama_file, reply_server

PAGE = 32
"""Positions in a page of the continuous batching."""

Loop = Callable[[Setting, int, int], Run]
"""(setting, games of which the setting's share is played, games in play at once)."""


def ours(setting: Setting, games: int, batch: int) -> Run:
    """Streams with kept caches; finished rows leave at once, and other games or the other role take their place."""
    player = ModelAgent(setting.model, setting.prompts, setting.sampling)
    matches = schedule(dict.fromkeys(setting.game.roles, player), setting.game, setting.words, games, setting.seed)
    mine = setting.numbers(games)
    counters = setting.model.loop.counters
    before = replace(counters)
    tokens = utterances = ended = attended = 0
    began = time.perf_counter()
    for episode in play(islice(matches, mine.start, None, mine.step), concurrency=batch):
        tokens += sum(reply.tokens for reply in episode.turns)
        utterances += len(episode.turns)
        attended += sum(int(np.flatnonzero(segment.loss_mask).sum()) for role in setting.game.roles for segment in episode.segments[role])
        ended += 1
    seconds = time.perf_counter() - began
    steps, rows, prefilled, drawn = (getattr(counters, name) - getattr(before, name) for name in ("steps", "rows", "prefilled", "sampled"))
    return Run(seconds, tokens, utterances, ended, Work(steps, rows, prefilled, drawn, attended))


def spag_loop(setting: Setting, games: int, batch: int) -> Run:
    """What SPAG's code does: `generate` per utterance, `batch` games in lockstep, the whole history rendered and prefilled every turn. In
    bfloat16 where ours is and that is faster.
    """
    torch.manual_seed(setting.seed)
    tokens = utterances = 0
    began = time.perf_counter()
    numbers = setting.numbers(games)
    for first in range(0, len(numbers), batch):
        states = [opening(setting, i) for i in numbers[first : first + batch]]
        while active := [i for i, state in enumerate(states) if state.to_act is not None]:
            replies = _generate(setting, [history(setting, states[i]) for i in active])
            for i, reply in zip(active, replies, strict=True):
                states[i] = said(setting, states[i], reply)
            tokens += sum(map(len, replies))
            utterances += len(active)
    return Run(time.perf_counter() - began, tokens, utterances, len(numbers))


def continuous_batching(setting: Setting, games: int, batch: int) -> Run:
    """Continuous batching of transformers, `batch` games at once: a request per utterance with its whole history; blocks of equal prefixes
    are shared, and games do not wait for each other.
    """
    began = time.perf_counter()
    tokens = utterances = 0
    states = {str(i): opening(setting, i) for i in setting.numbers(games)}
    waiting = list(states)[::-1]
    live = 0
    with _continuous(setting, batch) as manager:

        def ask(name: str) -> None:
            manager.add_request(
                history(setting, states[name]),
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
            reply = cut(setting, result.generated_tokens)
            states[result.request_id] = said(setting, states[result.request_id], reply)
            tokens += len(reply)
            utterances += 1
            if states[result.request_id].to_act is None:
                live -= 1
            else:
                ask(result.request_id)
    return Run(time.perf_counter() - began, tokens, utterances, len(states))


LOOPS: dict[str, Loop] = {"ours": ours, "spag_loop": spag_loop, "continuous_batching": continuous_batching}
if find_spec("llama_cpp") and find_spec("gguf"):
    LOOPS["llama_cpp"] = llama_cpp_loop
USUAL = tuple(LOOPS)
"""Those that take any model; others take GGUF files."""
if find_spec("xllamacpp") and find_spec("gguf"):
    LOOPS |= {"llama_file": llama_file, "llama_best": llama_best}


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
    "llama_cpp": reply_llama,
    "llama_file": partial(reply_server, best=False),
    "llama_best": partial(reply_server, best=True),
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


_faster: dict[int, Any] = {}


def _plain(setting: Setting) -> Any:
    """The model that plain loops play: in the type in which `generate` is faster, of those that ours may compute in; found out once."""
    model: Any = setting.model.model
    if setting.model.products == model.dtype:
        return model
    if id(model) not in _faster:
        taken: dict[Any, float] = {}
        prompts = [list(range(10, 74))] * 32
        for some in (model, deepcopy(model).to(setting.model.products)):
            _faster[id(model)] = some
            _generate(setting, prompts, 1, exactly=True)
            began = time.perf_counter()
            _generate(setting, prompts, 8, exactly=True)
            taken[some] = time.perf_counter() - began
        _faster[id(model)] = min(taken, key=lambda some: taken[some])
    return _faster[id(model)]


def _generate(setting: Setting, prompts: Sequence[Sequence[int]], limit: int | None = None, *, exactly: bool = False) -> list[list[int]]:
    """One reply for each prompt, by `generate` over all of them, padded on the left. exactly: of `limit` tokens, whatever they are."""
    model: Any = _plain(setting)
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
    return [cut(setting, row) for row in out]
