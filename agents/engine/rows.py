"""Where replies in the making keep the keys and values of their streams, and what attention sees of them.

`LaneRows` runs everywhere: rows are copied into dense lanes, which torch's operations read, and back into the pool when they are finished.
`BlockRows` leaves them in the pool, where the compiled kernel reads them: nothing is copied but the ends of shared beginnings, whose rest
is there once for all.
"""

from collections.abc import Iterator, Sequence
from itertools import chain as joined
from typing import Protocol

import torch
from torch import Tensor

from .attention import Blocks, Decode, Part, Prefill
from .kv_cache import BLOCK, Lane, Lanes, Layout, blocks_for, lane_length, lane_positions
from .sequences import Job, Streams

_ROOM = 8
"""Positions that a row should have left in the lane it enters."""


class Rows(Protocol):
    """Rows in the making."""

    @property
    def jobs(self) -> list[Job]:
        """In the order in which their tokens are packed: first those that decode, then those of the last `enter`."""

    @property
    def active(self) -> int:
        """How many there are."""

    def grow(self, step: int) -> None:
        """Makes room for one more token in every row."""

    def enter(self, jobs: Sequence[Job]) -> None:
        """Adds rows, with what the pool holds of their streams and room for all of their ids."""

    def parts(self, order: Tensor, positions: Tensor) -> list[Part]:
        """What attention sees in this step. order: the slots of all jobs [n]. positions: of those that decode, which are the first."""

    def keep(self) -> None:
        """Keeps the first prompts of those that have just been computed for others to share."""

    def leave(self, jobs: Sequence[Job]) -> None:
        """Removes finished rows; the pool keeps what was computed of their streams, all but the last id, where it has room."""

    def drop(self, job: Job) -> None:
        """Removes a row whose stream is given up."""


class LaneRows:
    """Rows in dense lanes by length."""

    def __init__(self, layout: Layout, streams: Streams, max_length: int, rows: int) -> None:
        self._streams = streams
        self._max_length = max_length
        self.lanes: Lanes[Job] = Lanes(layout, self.positions(max_length, rows))
        self._joined: list[tuple[Lane[Job], int]] = []

    @staticmethod
    def positions(max_length: int, rows: int) -> int:
        """Positions that so many rows may need memory for beside the pool's."""
        return lane_positions(max_length, rows)

    @property
    def jobs(self) -> list[Job]:
        firsts = self._firsts()
        old = [job for lane in self.lanes for job in lane.rows[: firsts[lane]]]
        return old + [job for lane, first in self._joined for job in lane.rows[first:]]

    @property
    def active(self) -> int:
        return sum(len(lane.rows) for lane in self.lanes)

    def _firsts(self) -> dict[Lane[Job], int]:
        """How many rows of each lane decode."""
        return {lane: len(lane.rows) for lane in self.lanes} | dict(self._joined)

    def grow(self, step: int) -> None:
        self._joined = []
        for lane in self.lanes:
            full = [i for i, job in enumerate(lane.rows) if job.base + step >= lane.length]
            if full:
                self._lane_for(lane.length + 1).take(lane, full)
                lane.drop(full)

    def _lane_for(self, positions: int) -> Lane[Job]:
        """The lane for rows that hold `positions` tokens."""
        return self.lanes.of(lane_length(positions, self._max_length))

    def enter(self, jobs: Sequence[Job]) -> None:
        by_lane: dict[Lane[Job], list[Job]] = {}
        for job in jobs:
            by_lane.setdefault(self._lane_for(min(len(job.stream.ids) + _ROOM, self._max_length)), []).append(job)
        for lane, some in by_lane.items():
            some.sort(key=lambda job: job.stream.new)
            first = len(lane.rows)
            lane.add(some)
            self._joined.append((lane, first))
            held = [(job.source or job.stream).blocks[: blocks_for(job.stream.stored)] for job in some]
            self._streams.pool.load(
                list(joined.from_iterable(held)),
                lane.data,
                [i for i, blocks in enumerate(held, first) for _ in blocks],
                [place for blocks in held for place in range(len(blocks))],
            )

    def parts(self, order: Tensor, positions: Tensor) -> list[Part]:
        found: list[Part] = []
        at = 0
        for lane, rows in sorted(self._firsts().items(), key=lambda some: some[0].length):
            if rows:
                found.append(Decode(at, lane.data, positions[at : at + rows]))
                at += rows
        for lane, first in self._joined:
            streams = [job.stream for job in lane.rows[first:]]
            for start, stop in _alike([stream.new for stream in streams]):
                some = streams[start:stop]
                data = lane.data[:, first + start : first + stop]
                found.append(Prefill(at, data, [stream.stored for stream in some], [stream.new for stream in some]))
                at += sum(stream.new for stream in some)
        return found

    def keep(self) -> None:
        for lane, first in self._joined:
            new = [
                (at, place, block)
                for at, job in enumerate(lane.rows[first:], first)
                if job.fresh
                for place, block in self._streams.prefixes.add(job.stream.ids, job.stream.begins).items()
            ]
            self._streams.pool.save([block for _, _, block in new], lane.data, [at for at, _, _ in new], [place for _, place, _ in new])

    def leave(self, jobs: Sequence[Job]) -> None:
        slots = {job.slot for job in jobs}
        for lane in self.lanes:
            over = [place for place, job in enumerate(lane.rows) if job.slot in slots]
            if over:
                self._store(lane, over)
                lane.drop(over)

    def _store(self, lane: Lane[Job], places: Sequence[int]) -> None:
        """Copies what is new of some rows into the pool."""
        new: list[tuple[int, int, int]] = []
        for at in places:
            stream = lane.rows[at].stream
            held = min(stream.stored // BLOCK, len(stream.blocks))
            if self._streams.reserve(stream, len(stream.ids) - 1):
                stream.stored = len(stream.ids) - 1
                new.extend((at, place, block) for place, block in enumerate(stream.blocks[held:], held))
            else:
                self._streams.drop(stream)
        self._streams.pool.save([block for _, _, block in new], lane.data, [at for at, _, _ in new], [place for _, place, _ in new])

    def drop(self, job: Job) -> None:
        for lane in self.lanes:
            if job in lane.rows:
                lane.drop([lane.rows.index(job)])


class BlockRows:
    """Rows in the pool's blocks, for float32 on a CPU. The pool has room for all of them: see `positions`."""

    def __init__(self, streams: Streams, max_length: int, rows: int) -> None:
        self._streams = streams
        self._tables = torch.zeros(rows, blocks_for(max_length), dtype=torch.int64)
        self._lines = self._tables.numpy()
        self._old: list[Job] = []
        self._new: list[Job] = []

    @staticmethod
    def positions(max_length: int, rows: int) -> int:
        """Positions that so many rows may need memory for beside what is kept for idle streams: of each one block more, for the end of a
        shared beginning that is held until it is copied.
        """
        return rows * (blocks_for(max_length) + 1) * BLOCK

    @property
    def jobs(self) -> list[Job]:
        return self._old + self._new

    @property
    def active(self) -> int:
        return len(self._old) + len(self._new)

    def grow(self, step: int) -> None:
        self._old, self._new = self.jobs, []
        for job in self._old:
            if job.base + step >= len(job.stream.blocks) * BLOCK:
                self._extend(job, job.base + step + 1)

    def _extend(self, job: Job, positions: int) -> None:
        """Gives a row blocks for so many positions. They are there: all rows together need no more than the pool has."""
        held = len(job.stream.blocks)
        while not self._streams.reserve(job.stream, positions):
            if not self._streams.prefixes.forget_oldest():
                raise MemoryError("no memory for the keys and values of a reply in the making")
        self._lines[job.slot, held : len(job.stream.blocks)] = job.stream.blocks[held:]

    def enter(self, jobs: Sequence[Job]) -> None:
        pool = self._streams.pool
        for job in jobs:
            if job.source is not None:
                # Held before any row takes blocks that are new to it, as that may push the source out.
                job.stream.blocks = pool.share(job.source.blocks[: blocks_for(job.stream.stored)])
        begun: list[int] = []
        own: list[int] = []
        for job in jobs:
            stream = job.stream
            shared = stream.blocks.pop() if job.source is not None and stream.stored % BLOCK else None
            self._lines[job.slot, : len(stream.blocks)] = stream.blocks
            self._extend(job, len(stream.ids))
            if shared is not None:
                begun.append(shared)
                own.append(stream.blocks[stream.stored // BLOCK])
        pool.copy(begun, own)
        pool.give(begun)
        self._new = list(jobs)

    def parts(self, order: Tensor, positions: Tensor) -> list[Part]:
        old = len(positions)
        new: list[tuple[int, int, int, int]] = []
        at = old
        for job in self._new:
            new.append((job.slot, job.stream.stored, at, job.stream.new))
            at += job.stream.new
        decoding = torch.stack([order[:old], positions, torch.arange(old), torch.ones_like(positions)], dim=1)
        # Rows with most work first: threads that are done early take the light ones.
        lines = torch.cat([torch.tensor(new, dtype=torch.int64).view(-1, 4), decoding])
        return [Blocks(lines, self._tables, self._streams.pool.data, at)]

    def keep(self) -> None:
        begun: list[int] = []
        kept: list[int] = []
        for job in self._new:
            if job.fresh:
                for place, block in self._streams.prefixes.add(job.stream.ids, job.stream.begins, job.stream.blocks).items():
                    begun.append(job.stream.blocks[place])
                    kept.append(block)
        self._streams.pool.copy(begun, kept)

    def leave(self, jobs: Sequence[Job]) -> None:
        slots = {job.slot for job in jobs}
        self._old, self._new = [job for job in self.jobs if job.slot not in slots], []
        for job in jobs:
            job.stream.stored = len(job.stream.ids) - 1

    def drop(self, job: Job) -> None:
        self._old, self._new = [other for other in self.jobs if other is not job], []


def _alike(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cuts ascending numbers of new tokens into stretches (start, stop) in which none is far above the first, as all are padded to the
    largest.
    """
    start = 0
    for i, new in enumerate(counts):
        if new > 2 * counts[start] + BLOCK:
            yield start, i
            start = i
    yield start, len(counts)
