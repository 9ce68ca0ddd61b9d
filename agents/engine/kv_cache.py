"""Keys and values of many token streams: a pool of blocks that keeps them between turns, and dense lanes that torch's operations read.

Knows shapes, rows and blocks; knows nothing about models, text or sampling. Letters: X = keys and values of all layers (2 x layers), H =
key-value heads, D = head size, L = positions of a lane.
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
LANE = 32
"""Lanes are multiples of this many positions long."""


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
        self.free = list(range(len(self.data) - 1, -1, -1))
        self._sharing: dict[int, int] = {}

    def _make(self, count: int) -> Tensor:
        x = self.layout
        make = torch.zeros if self.clean else torch.empty
        return make(count, 2 * x.layers, x.heads, BLOCK * x.size, dtype=x.dtype, device=x.device)

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
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self.limit = old
                return None
            grown[:old] = self.data
            self.data = grown
            self.free[:0] = range(len(grown) - 1, old - 1, -1)
        taken = self.free[len(self.free) - count :]
        del self.free[len(self.free) - count :]
        return taken[::-1]

    def share(self, blocks: Sequence[int]) -> list[int]:
        """Takes blocks once more: they are free when each who has taken them has given them back. Nobody may write into them meanwhile."""
        for block in blocks:
            self._sharing[block] = self._sharing.get(block, 0) + 1
        return list(blocks)

    def give(self, blocks: Sequence[int]) -> None:
        for block in reversed(blocks):
            others = self._sharing.pop(block, 0)
            if others > 1:
                self._sharing[block] = others - 1
            elif not others:
                self.free.append(block)

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


class Lane(Generic[Row]):
    """Rows that decode together: streams of at most `length` positions, kept dense so that attention reads one view."""

    def __init__(self, lanes: "Lanes[Row]", length: int) -> None:
        self._lanes = lanes
        self.length = length
        self.rows: list[Row] = []
        self.data = lanes.layout.empty(0, length)

    @property
    def capacity(self) -> int:
        """Rows that there is memory for."""
        return self.data.shape[1]

    def add(self, rows: Sequence[Row]) -> None:
        """Appends rows; what their places held before is still there."""
        if len(self.rows) + len(rows) > self.capacity:
            self._lanes.widen(self, len(self.rows) + len(rows))
        self.rows.extend(rows)

    def resize(self, capacity: int) -> None:
        """Moves to memory for so many rows."""
        keep = len(self.rows)
        data = self._lanes.layout.empty(capacity, self.length)
        data[:, :keep] = self.data[:, :keep]
        # What is masked must still be finite.
        data[:, keep:] = 0
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


class Lanes(Generic[Row]):
    """Lanes by length, made when asked for. Together they have memory for at most `limit` positions; up to there a lane keeps what it had,
    as there will be other rows.
    """

    def __init__(self, layout: Layout, limit: int) -> None:
        self.layout = layout
        self.limit = limit
        self._lanes: dict[int, Lane[Row]] = {}

    def __iter__(self) -> Iterator[Lane[Row]]:
        """From the shortest on."""
        return iter([lane for _, lane in sorted(self._lanes.items())])

    def of(self, length: int) -> Lane[Row]:
        if length not in self._lanes:
            self._lanes[length] = Lane(self, length)
        return self._lanes[length]

    @property
    def positions(self) -> int:
        """Positions that there is memory for at present."""
        return sum(lane.capacity * lane.length for lane in self._lanes.values())

    def widen(self, lane: Lane[Row], rows: int) -> None:
        """Makes room for `rows` rows in a lane and a quarter more; where that is beyond the limit, every lane gives back what it does not
        use, and there is room for `rows` alone.
        """
        ample = rows + rows // 4 + 8
        if self.positions + (ample - lane.capacity) * lane.length > self.limit:
            for other in self._lanes.values():
                if other is not lane and other.capacity > len(other.rows):
                    other.resize(len(other.rows))
            ample = rows
        lane.resize(ample)


def lane_length(positions: int, max_length: int) -> int:
    """How long the lane for rows of so many positions is: the next multiple of LANE, beyond the first few in steps of about a quarter, so
    that lanes are few.
    """
    length = -(-positions // LANE) * LANE
    if length > 4 * LANE:
        step = LANE * max(1, 1 << ((length // LANE).bit_length() - 3))
        length = -(-length // step) * step
    return min(length, blocks_for(max_length) * BLOCK)


def lane_positions(max_length: int, rows: int) -> int:
    """Positions that lanes may have memory for: twice what their rows could need, as rows that outgrow a lane are in two for a moment."""
    return 2 * rows * lane_length(max_length, max_length)


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
