"""Replies in the making, as tables on the model's device: what each continues, what has been sampled, how much more may come.

Knows slots and ids; knows nothing about models, caches or text.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GOES_ON, FULL, ENDED, STOPPED = range(4)
"""What a drawn token means for its reply: no end, no room for more, an end token, a stop condition."""


class ReplyTable:
    """Tables by slot. out and logprob: [slots, width], one column per sampled token; all others [slots]."""

    def __init__(self, slots: int, device: torch.device) -> None:
        def column() -> Tensor:
            return torch.zeros(slots, dtype=torch.int64, device=device)

        self.token, self.position, self.step, self.limit, self.seed, self.near = (column() for _ in range(6))
        self.out = torch.zeros(slots, 32, dtype=torch.int64, device=device)
        self.logprob = torch.zeros(slots, 32, dtype=torch.float32, device=device)

    def enter(self, slots: Sequence[int], positions: Sequence[int], limits: Sequence[int], seeds: Sequence[int]) -> None:
        """Begins a reply in each of some slots. positions: of the ids that they continue. limits: tokens that they may have."""
        rows = torch.tensor(slots, device=self.token.device)
        self.position[rows], self.limit[rows], self.seed[rows] = torch.tensor([positions, limits, seeds], device=rows.device)
        self.step[rows] = 0
        self.near[rows] = 0
        width = max(limits)
        if width > self.out.shape[1]:
            grow = (0, width - self.out.shape[1])
            self.out = torch.nn.functional.pad(self.out, grow)
            self.logprob = torch.nn.functional.pad(self.logprob, grow)

    def record(self, order: Tensor, step: Tensor, ids: Tensor, logprobs: Tensor, near: Tensor, ends: Tensor) -> list[int]:
        """Appends one token to each row of `order`. Per row: GOES_ON, FULL or ENDED."""
        self.out[order, step] = ids
        self.logprob[order, step] = logprobs
        self.token[order] = ids
        self.near[order] += near
        self.step[order] = step + 1
        self.position[order] += 1
        ended = (ids[:, None] == ends).any(dim=1)
        verdict = torch.where(ended, ENDED, (step + 1 >= self.limit[order]).to(torch.int64))
        return list(verdict.tolist())

    def sampled(self, slots: Sequence[int]) -> list[list[int]]:
        """The ids of some replies so far."""
        index = torch.tensor(slots, device=self.token.device)
        counts: list[int] = self.step[index].tolist()
        ids: list[list[int]] = self.out[index, : max(counts)].tolist()
        return [row[:count] for row, count in zip(ids, counts, strict=True)]

    def collect(self, slots: Sequence[int]) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float32]], list[int]]:
        """Sampled ids, their log-probabilities and near-ties of finished rows, on the host."""
        index = torch.tensor(slots, device=self.token.device)
        counts: list[int] = self.step[index].tolist()
        width = max(counts)
        ids = self.out[index, :width].cpu().numpy()
        logprobs = self.logprob[index, :width].cpu().numpy()
        near: list[int] = self.near[index].tolist()
        return (
            [ids[i, :count].copy() for i, count in enumerate(counts)],
            [logprobs[i, :count].copy() for i, count in enumerate(counts)],
            near,
        )
