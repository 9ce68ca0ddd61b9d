"""Keys and values of many token streams: a pool of blocks that keeps them between turns, and dense buckets that torch's operations read.

Knows shapes, rows and blocks; knows nothing about models, text or sampling. Letters: X = keys and values of all layers (2 x layers), H =
key-value heads, D = head size, L = positions of a bucket.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ..models.memory import out_of_memory
from . import kernels

Row = TypeVar("Row")

BLOCK = kernels.BLOCK
"""Positions in one block of the pool."""
BUCKET = 32
"""Buckets are multiples of this many positions long."""


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
        """Uninitialised [X, rows, H, length, D]."""
        return torch.empty(2 * self.layers, rows, self.heads, length, self.size, dtype=self.dtype, device=self.device)


class Pool:
    """Blocks of BLOCK positions, handed out by number; several may share one. Grows by doubling up to `limit` blocks.

    data: [blocks, X, H, BLOCK * D]. clean: what was never written is 0, for who reads beyond what was, rather than anything.
    """

    def __init__(self, layout: Layout, limit: int, clean: bool = True) -> None:
        self.layout = layout
        self.limit = limit
        self.clean = clean
        self.data = self._make(min(limit, 256))
        self.free_blocks = list(range(len(self.data) - 1, -1, -1))
        self._sharing: dict[int, int] = {}

    def _make(self, count: int) -> Tensor:
        x = self.layout
        make = torch.zeros if self.clean else torch.empty
        return make(count, 2 * x.layers, x.heads, BLOCK * x.size, dtype=x.dtype, device=x.device)

    def available(self) -> int:
        """Blocks that can still be taken."""
        return len(self.free_blocks) + self.limit - len(self.data)

    def allocate(self, count: int) -> list[int] | None:
        """Numbers of `count` blocks, which the caller has seen to be available; None where there is no memory for them: the pool then never
        grows again.
        """
        while len(self.free_blocks) < count:
            old = len(self.data)
            assert old < self.limit, "blocks are taken only when available"
            try:
                grown = self._make(min(self.limit, max(2 * old, 256)))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self.limit = old
                return None
            grown[:old] = self.data
            self.data = grown
            self.free_blocks[:0] = range(len(grown) - 1, old - 1, -1)
        taken = self.free_blocks[len(self.free_blocks) - count :]
        del self.free_blocks[len(self.free_blocks) - count :]
        return taken[::-1]

    def incref(self, blocks: Sequence[int]) -> list[int]:
        """Takes blocks once more: they are free when each who has taken them has given them back. Nobody may write into them meanwhile."""
        for block in blocks:
            self._sharing[block] = self._sharing.get(block, 0) + 1
        return list(blocks)

    def free(self, blocks: Sequence[int]) -> None:
        for block in reversed(blocks):
            others = self._sharing.pop(block, 0)
            if others > 1:
                self._sharing[block] = others - 1
            elif not others:
                self.free_blocks.append(block)

    def copy(self, blocks: Sequence[int], to: Sequence[int]) -> None:
        """Copies blocks to others. Of one that is named more than once, as in `save`, the last counts."""
        last = dict(zip(to, blocks, strict=True))
        if last:
            flat = self.data.view(-1, self.data.shape[-1])
            kernels.copy(flat, self._cells(list(last)), flat, self._cells(list(last.values())))

    def load(self, blocks: Sequence[int], dense: Tensor, rows: Sequence[int], places: Sequence[int]) -> None:
        """Copies blocks into dense [X, rows, H, L, D], block i to row rows[i], positions places[i] * BLOCK on."""
        if blocks:
            size = BLOCK * dense.shape[-1]
            kernels.copy(dense.view(-1, size), _cells(dense, rows, places), self.data.view(-1, size), self._cells(blocks))

    def save(self, blocks: Sequence[int], dense: Tensor, rows: Sequence[int], places: Sequence[int]) -> None:
        """The reverse of `load`. Of a block that is named more than once (given back and taken again while they were listed), the last
        counts.
        """
        last = {block: i for i, block in enumerate(blocks)}
        if last:
            size = BLOCK * dense.shape[-1]
            cells = _cells(dense, [rows[i] for i in last.values()], [places[i] for i in last.values()])
            kernels.copy(self.data.view(-1, size), self._cells(list(last)), dense.view(-1, size), cells)

    def _cells(self, blocks: Sequence[int]) -> Tensor:
        """Where blocks are in the pool's data, seen as [blocks * X * H, BLOCK * D]."""
        each = self.data.shape[1] * self.data.shape[2]
        return (_index(blocks, self.data)[:, None] * each + torch.arange(each, device=self.data.device)).flatten()


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


class Bucket(Generic[Row]):
    """Rows that decode together: streams of at most `length` positions, kept dense so that attention reads one view."""

    def __init__(self, buckets: "Buckets[Row]", length: int) -> None:
        self._buckets = buckets
        self.length = length
        self.rows: list[Row] = []
        self.data = buckets.layout.empty(0, length)

    @property
    def capacity(self) -> int:
        """Rows that there is memory for."""
        return self.data.shape[1]

    def add(self, rows: Sequence[Row]) -> None:
        """Appends rows; what their places held before is still there."""
        if len(self.rows) + len(rows) > self.capacity:
            self._buckets.widen(self, len(self.rows) + len(rows))
        self.rows.extend(rows)

    def resize(self, capacity: int) -> None:
        """Moves to memory for so many rows."""
        keep = len(self.rows)
        data = self._buckets.layout.empty(capacity, self.length)
        data[:, :keep] = self.data[:, :keep]
        # What is masked must still be finite.
        data[:, keep:] = 0
        self.data = data

    def take(self, source: "Bucket[Row]", places: Sequence[int]) -> None:
        """Appends rows of a shorter bucket, with their keys and values; they stay there until dropped."""
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


class Buckets(Generic[Row]):
    """Buckets by length, made when asked for. Together they have memory for at most `limit` positions; up to there a bucket keeps what it
    had, as there will be other rows.
    """

    def __init__(self, layout: Layout, limit: int) -> None:
        self.layout = layout
        self.limit = limit
        self._buckets: dict[int, Bucket[Row]] = {}

    def __iter__(self) -> Iterator[Bucket[Row]]:
        """From the shortest on."""
        return iter([bucket for _, bucket in sorted(self._buckets.items())])

    def of(self, length: int) -> Bucket[Row]:
        if length not in self._buckets:
            self._buckets[length] = Bucket(self, length)
        return self._buckets[length]

    @property
    def positions(self) -> int:
        """Positions that there is memory for at present."""
        return sum(bucket.capacity * bucket.length for bucket in self._buckets.values())

    def widen(self, bucket: Bucket[Row], rows: int) -> None:
        """Makes room for `rows` rows in a bucket and a quarter more; where that is beyond the limit, every bucket gives back what it does
        not use, and there is room for `rows` alone.
        """
        ample = rows + rows // 4 + 8
        if self.positions + (ample - bucket.capacity) * bucket.length > self.limit:
            for other in self._buckets.values():
                if other is not bucket and other.capacity > len(other.rows):
                    other.resize(len(other.rows))
            ample = rows
        bucket.resize(ample)


def bucket_length(positions: int, max_length: int) -> int:
    """How long the bucket for rows of so many positions is: the next multiple of BUCKET, beyond the first few in steps of about a quarter,
    so that buckets are few.
    """
    length = -(-positions // BUCKET) * BUCKET
    if length > 4 * BUCKET:
        step = BUCKET * max(1, 1 << ((length // BUCKET).bit_length() - 3))
        length = -(-length // step) * step
    return min(length, blocks_for(max_length) * BLOCK)


def bucket_positions(max_length: int, rows: int) -> int:
    """Positions that buckets may have memory for: twice what their rows could need, as rows that outgrow a bucket are in two for a
    moment."""
    return 2 * rows * bucket_length(max_length, max_length)


def fitting(layout: Layout, max_length: int, positions: Callable[[int], int], rows: int, blocks: int, memory: int) -> tuple[int, int]:
    """Rows and blocks of a pool that fit into so many bytes: rows halved until they take half of it at most, the rest for blocks.

    positions: how many positions so many rows need beside the pool.
    """
    each, least = layout.bytes_per_token, blocks_for(max_length)
    while rows > 1 and each * positions(rows) > memory // 2:
        rows //= 2
    left = (memory - each * positions(rows)) // (each * BLOCK)
    if left < least:
        needed = -(-1000 * each * (positions(1) + least * BLOCK) // 2**30) / 1000  # upwards
        raise ValueError(
            f"max_memory: the {memory / 2**30:.3g} GiB for its caches hold no stream of {max_length} tokens; {needed:.3f} are the least"
        )
    return rows, min(blocks, left)
