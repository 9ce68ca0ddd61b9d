"""Processes that play shares of the same games at the same time, each with its share of the threads, for benchmarks/speed/generation.py.

With small matrices on a CPU, two processes with one thread each can be faster than one with two, whatever plays: between products only one
core works.
"""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import torch

from .common import Run, Setting, Work
from .loops import ENGINES, LOOPS

P = ParamSpec("P")
Answer = TypeVar("Answer")

_setting: Setting
"""Of a process of a team."""


class Team:
    """So many processes, each with the setting that `prepare` gives it and its share of the games and threads."""

    def __init__(self, processes: int, prepare: Callable[[], Setting]) -> None:
        self.processes = processes
        threads = max(1, torch.get_num_threads() // processes)
        self.members = [
            ProcessPoolExecutor(1, get_context("spawn"), _begin, (prepare, (number, processes), threads)) for number in range(processes)
        ]

    def ask(self, function: Callable[Concatenate[Setting, P], Answer], *args: P.args, **kwargs: P.kwargs) -> list[Answer]:
        """What a function of the setting gives in each process, at the same time."""
        asked = [member.submit(_answer, function, args, kwargs) for member in self.members]
        return [future.result() for future in asked]

    def play(self, name: str, games: int, batch: int, seed: int) -> list[Run]:
        """One run of a loop, a share in each process, `batch` games in play at once in all. seconds: of the whole, in every share."""
        began = time.perf_counter()
        runs = self.ask(_play, name, games, -(-batch // self.processes), seed)
        seconds = time.perf_counter() - began
        return [replace(run, seconds=seconds) for run in runs]

    def close(self) -> None:
        for member in self.members:
            member.shutdown()


def together(shares: Sequence[Run]) -> Run:
    """A run of all processes as one."""
    work = [share.work for share in shares if share.work]
    return Run(
        shares[0].seconds,
        sum(share.tokens for share in shares),
        sum(share.utterances for share in shares),
        sum(share.games for share in shares),
        Work(*(sum(getattr(w, name) for w in work) for name in Work.__dataclass_fields__)) if work else None,
    )


def _begin(prepare: Callable[[], Setting], share: tuple[int, int], threads: int) -> None:
    global _setting
    torch.set_num_threads(threads)
    _setting = replace(prepare(), share=share)


def _answer(function: Callable[..., Answer], args: Sequence[object], kwargs: dict[str, object]) -> Answer:
    return function(_setting, *args, **kwargs)


def _play(setting: Setting, name: str, games: int, batch: int, seed: int) -> Run:
    return LOOPS[name](replace(setting, seed=seed), games, batch)


def phases(setting: Setting, name: str, batch: int, prompt: int = 64, reply: int = 32) -> dict[str, float]:
    """Tokens per second of prefill and of decoding apart: `batch` prompts of `prompt` tokens, answered with 1 token, and `reply` more."""
    # No two begin alike, so that nothing is shared.
    draw = random.Random(0)
    most = min(setting.model.model.config.vocab_size, 1000)
    prompts = [[draw.randrange(10, most) for _ in range(prompt)] for _ in range(batch)]
    engine = ENGINES[name]
    engine(setting, prompts, 2)
    short = engine(setting, prompts, 1)
    long = engine(setting, prompts, 1 + reply)
    return {"prefill": batch * prompt / short, "decode": batch * reply / max(long - short, 1e-9)}


def highest_memory(setting: Setting) -> float:
    """Most memory so far, in MiB: the GPU's where the model is there, else that of the process."""
    if setting.model.model.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    # NOTE: getrusage's maximum begins with that of the process that this one was started from.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10
