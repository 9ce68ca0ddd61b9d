"""Keys and values of many token streams: a pool of blocks that keeps them between turns, and dense lanes that decode reads.

Knows shapes, rows and blocks; knows nothing about models, text or sampling. Letters: X = keys and values of all layers (2 x layers), H =
key-value heads, D = head size, L = positions of a lane.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

Row = TypeVar("Row")

BLOCK = 16
"""Positions in one block of the pool."""

SLACK = 16
"""Rows that a lane may have memory for beyond twice its rows."""


def blocks_for(positions: int) -> int:
    return -(-positions // BLOCK)


@dataclass(frozen=True)
class Layout:
    """What one position of a stream takes. layers: slots of keys (and of values); every layer has equal H and D."""

    layers: int
    heads: int
    size: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        return 2 * self.layers * self.heads * self.size * self.dtype.itemsize

    def empty(self, rows: int, length: int) -> Tensor:
        """Zeros [X, rows, H, length, D]: what is masked must still be finite."""
        return torch.zeros(2 * self.layers, rows, self.heads, length, self.size, dtype=self.dtype, device=self.device)


class Pool:
    """Blocks of BLOCK positions, handed out by number. Grows by doubling up to `limit` blocks."""

    def __init__(self, layout: Layout, limit: int) -> None:
        self.layout = layout
        self.limit = limit
        self.data = self._make(min(limit, 256))
        self.free = list(range(len(self.data) - 1, -1, -1))

    def _make(self, count: int) -> Tensor:
        x = self.layout
        return torch.zeros(count, 2 * x.layers, x.heads, BLOCK * x.size, dtype=x.dtype, device=x.device)

    def available(self) -> int:
        """Blocks that can still be taken."""
        return len(self.free) + self.limit - len(self.data)

    def take(self, count: int) -> list[int] | None:
        """Numbers of `count` blocks, which the caller has seen to be available; None where there is no memory for them: the pool then never
        grows again.
        """
        while len(self.free) < count:
            old = len(self.data)
            assert old < self.limit, "blocks are taken only when available"
            try:
                grown = self._make(min(self.limit, max(2 * old, 256)))
            except torch.OutOfMemoryError:
                self.limit = old
                return None
            grown[:old] = self.data
            self.data = grown
            self.free[:0] = range(len(grown) - 1, old - 1, -1)
        taken = self.free[len(self.free) - count :]
        del self.free[len(self.free) - count :]
        return taken[::-1]

    def give(self, blocks: Sequence[int]) -> None:
        self.free.extend(reversed(blocks))

    def load(self, blocks: Sequence[int], dense: Tensor, rows: Sequence[int], places: Sequence[int]) -> None:
        """Copies blocks into dense [X, rows, H, L, D], block i to row rows[i], positions places[i] * BLOCK on."""
        if blocks:
            cells, size = _cells(dense, rows, places), BLOCK * dense.shape[-1]
            dense.view(-1, size).index_copy_(0, cells, self.data.index_select(0, _index(blocks, dense)).view(-1, size))

    def save(self, blocks: Sequence[int], dense: Tensor, rows: Sequence[int], places: Sequence[int]) -> None:
        """The reverse of `load`."""
        if blocks:
            cells, size = _cells(dense, rows, places), BLOCK * dense.shape[-1]
            found = dense.view(-1, size).index_select(0, cells)
            self.data.index_copy_(0, _index(blocks, dense), found.view(len(blocks), *self.data.shape[1:]))


def _index(numbers: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64, device=like.device)


def _cells(dense: Tensor, rows: Sequence[int], places: Sequence[int]) -> Tensor:
    """Where blocks of rows are in dense [X, rows, H, L, D], seen as [X * rows * H * L / BLOCK, BLOCK * D]: for each block all X and H."""
    x, capacity, heads, length, _ = dense.shape
    blocks = length // BLOCK
    layers = torch.arange(x, device=dense.device) * (capacity * heads * blocks)
    within = torch.arange(heads, device=dense.device) * blocks
    first = _index(rows, dense) * (heads * blocks) + _index(places, dense)
    return (first[:, None, None] + layers[:, None] + within).flatten()


class Lane(Generic[Row]):
    """Rows that decode together: streams of at most `length` positions, kept dense so that attention reads one view.

    There is memory for at most twice its rows and SLACK more.
    """

    def __init__(self, layout: Layout, length: int) -> None:
        self.layout = layout
        self.length = length
        self.rows: list[Row] = []
        self.data = layout.empty(0, length)

    def add(self, rows: Sequence[Row]) -> None:
        """Appends rows; what their places held before is still there."""
        old, new = len(self.rows), len(self.rows) + len(rows)
        if new > self.data.shape[1]:
            self._resize(old, new)
        self.rows.extend(rows)

    def _resize(self, keep: int, rows: int) -> None:
        """Makes room for `rows` rows and a quarter more; the first `keep` stay."""
        data = self.layout.empty(rows + rows // 4 + SLACK // 2, self.length)
        data[:, :keep] = self.data[:, :keep]
        self.data = data

    def take(self, source: "Lane[Row]", places: Sequence[int]) -> None:
        """Appends rows of a shorter lane, with their keys and values; they stay there until dropped."""
        old = len(self.rows)
        self.add([source.rows[place] for place in places])
        for row, place in enumerate(places, old):
            self.data[:, row, :, : source.length] = source.data[:, place]

    def drop(self, places: Sequence[int]) -> None:
        """Removes rows; the last ones move into the holes."""
        gone = set(places)
        keep = len(self.rows) - len(gone)
        movers = [i for i in range(keep, len(self.rows)) if i not in gone]
        holes = [i for i in sorted(gone) if i < keep]
        for hole, mover in zip(holes, movers, strict=True):
            self.data[:, hole] = self.data[:, mover]
            self.rows[hole] = self.rows[mover]
        del self.rows[keep:]
        if self.data.shape[1] > 2 * keep + SLACK:
            self._resize(keep, keep)

    def release(self) -> None:
        """Gives the memory of an empty lane back."""
        assert not self.rows, "only an empty lane is released"
        self.data = self.layout.empty(0, self.length)
