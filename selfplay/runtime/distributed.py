"""The processes of one run (ranks): which one this is, and how they agree.

Every process plays its own games and computes its own part of every optimiser step; what was played is exchanged, so that all know the same
and take the same decisions. Only the main process writes. Processes are started by `accelerate launch` (or torchrun); on its own a process
is the only one, and nothing here costs anything.
"""

import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import PartialState

T = TypeVar("T")
PATIENCE = datetime.timedelta(days=2)
"""How long processes wait for the slowest: games and measurements take their time."""


@dataclass(frozen=True)
class Ranks:
    """rank: this process's number of `size`. group: of torch.distributed, for objects; None where there is one process."""

    rank: int = 0
    size: int = 1
    group: Any = None

    @property
    def main(self) -> bool:
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Everybody's value, by rank, everywhere."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, value, group=self.group)
        return found

    def from_main(self, work: Callable[[], T]) -> T:
        """What the main process makes, everywhere; nobody goes on before it is made. Where it fails the others raise ValueError."""
        if self.size == 1:
            return work()
        found: list[Any] = [None, None]
        failure: Exception | None = None
        if self.main:
            try:
                found = [work(), None]
            except Exception as error:
                failure, found = error, [None, str(error)]
        torch.distributed.broadcast_object_list(found, src=0, group=self.group)
        if failure is not None:
            raise failure
        if found[1] is not None:
            raise ValueError(f"the main process failed: {found[1]}")
        made: T = found[0]
        return made


def join(device: str) -> Ranks:
    """Meets the other processes of this run. device: as configured. Raises ValueError for a device that all of them would share."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Ranks()
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {device!r} is one device, but {size} processes run: set auto, or cpu")
    state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    # Objects go through the CPU, whatever gradients go through.
    return Ranks(state.process_index, state.num_processes, torch.distributed.new_group(backend="gloo", timeout=PATIENCE))
