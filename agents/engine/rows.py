"""Where replies in the making keep the keys and values of their streams, and what attention sees of them.

`BucketBatch` runs everywhere: rows are copied into dense buckets, which torch's operations read, and back into the pool when they are
finished. `BlockBatch` leaves them in the pool, where the compiled kernel reads them: nothing is copied but the ends of shared prefixes,
whose rest is there once for all.
"""

from collections.abc import Iterator, Sequence
from itertools import chain as joined
from typing import Protocol

import torch
from torch import Tensor

from .attention import Blocks, Decode, Part, Prefill
from .kv_cache import BLOCK, Bucket, Buckets, Layout, blocks_for, bucket_length, bucket_positions
from .sequences import PendingReply, Sequences

_ROOM = 8
"""Positions that a row should have left in the bucket it enters."""


class RunningBatch(Protocol):
    """Replies that are being generated, one per row of a batch."""

    @property
    def replies(self) -> list[PendingReply]:
        """In the order in which their tokens are packed: first those that decode, then those of the last `enter`."""

    @property
    def active(self) -> int:
        """How many there are."""

    def grow(self, step: int) -> None:
        """Makes room for one more token in every row."""

    def enter(self, replies: Sequence[PendingReply]) -> None:
        """Adds rows, with what the pool holds of their streams and room for all of their ids."""

    def parts(self, order: Tensor, positions: Tensor) -> list[Part]:
        """What attention sees in this step. order: the slots of all replies [n]. positions: of those that decode, which are the first."""

    def keep(self) -> None:
        """Keeps the first prompts of those that have just been computed for others to share."""

    def leave(self, replies: Sequence[PendingReply]) -> None:
        """Removes finished rows; the pool keeps what was computed of their streams, all but the last id, where it has room."""

    def drop(self, reply: PendingReply) -> None:
        """Removes a row whose stream is given up."""


class BucketBatch:
    """Rows in dense buckets by length."""

    def __init__(self, layout: Layout, sequences: Sequences, max_length: int, rows: int) -> None:
        self._sequences = sequences
        self._max_length = max_length
        self.buckets: Buckets[PendingReply] = Buckets(layout, self.positions(max_length, rows))
        self._joined: list[tuple[Bucket[PendingReply], int]] = []

    @staticmethod
    def positions(max_length: int, rows: int) -> int:
        """Positions that so many rows may need memory for beside the pool's."""
        return bucket_positions(max_length, rows)

    @property
    def replies(self) -> list[PendingReply]:
        firsts = self._firsts()
        old = [reply for bucket in self.buckets for reply in bucket.rows[: firsts[bucket]]]
        return old + [reply for bucket, first in self._joined for reply in bucket.rows[first:]]

    @property
    def active(self) -> int:
        return sum(len(bucket.rows) for bucket in self.buckets)

    def _firsts(self) -> dict[Bucket[PendingReply], int]:
        """How many rows of each bucket decode."""
        return {bucket: len(bucket.rows) for bucket in self.buckets} | dict(self._joined)

    def grow(self, step: int) -> None:
        self._joined = []
        for bucket in self.buckets:
            full = [i for i, reply in enumerate(bucket.rows) if reply.base + step >= bucket.length]
            if full:
                self._bucket_for(bucket.length + 1).take(bucket, full)
                bucket.drop(full)

    def _bucket_for(self, positions: int) -> Bucket[PendingReply]:
        """The bucket for rows that hold `positions` tokens."""
        return self.buckets.of(bucket_length(positions, self._max_length))

    def enter(self, replies: Sequence[PendingReply]) -> None:
        by_bucket: dict[Bucket[PendingReply], list[PendingReply]] = {}
        for reply in replies:
            by_bucket.setdefault(self._bucket_for(min(len(reply.sequence.ids) + _ROOM, self._max_length)), []).append(reply)
        for bucket, some in by_bucket.items():
            some.sort(key=lambda reply: reply.sequence.new)
            first = len(bucket.rows)
            bucket.add(some)
            self._joined.append((bucket, first))
            held = [(reply.source or reply.sequence).blocks[: blocks_for(reply.sequence.stored)] for reply in some]
            self._sequences.pool.load(
                list(joined.from_iterable(held)),
                bucket.data,
                [i for i, blocks in enumerate(held, first) for _ in blocks],
                [place for blocks in held for place in range(len(blocks))],
            )

    def parts(self, order: Tensor, positions: Tensor) -> list[Part]:
        found: list[Part] = []
        at = 0
        for bucket, rows in sorted(self._firsts().items(), key=lambda some: some[0].length):
            if rows:
                found.append(Decode(at, bucket.data, positions[at : at + rows]))
                at += rows
        for bucket, first in self._joined:
            sequences = [reply.sequence for reply in bucket.rows[first:]]
            for start, stop in _alike([sequence.new for sequence in sequences]):
                some = sequences[start:stop]
                data = bucket.data[:, first + start : first + stop]
                found.append(Prefill(at, data, [sequence.stored for sequence in some], [sequence.new for sequence in some]))
                at += sum(sequence.new for sequence in some)
        return found

    def keep(self) -> None:
        for bucket, first in self._joined:
            new = [
                (at, place, block)
                for at, reply in enumerate(bucket.rows[first:], first)
                if reply.fresh
                for place, block in self._sequences.prefix_cache.add(reply.sequence.ids, reply.sequence.prefix_hashes).items()
            ]
            self._sequences.pool.save([block for _, _, block in new], bucket.data, [at for at, _, _ in new], [place for _, place, _ in new])

    def leave(self, replies: Sequence[PendingReply]) -> None:
        slots = {reply.slot for reply in replies}
        for bucket in self.buckets:
            over = [place for place, reply in enumerate(bucket.rows) if reply.slot in slots]
            if over:
                self._store(bucket, over)
                bucket.drop(over)

    def _store(self, bucket: Bucket[PendingReply], places: Sequence[int]) -> None:
        """Copies what is new of some rows into the pool."""
        new: list[tuple[int, int, int]] = []
        for at in places:
            sequence = bucket.rows[at].sequence
            held = min(sequence.stored // BLOCK, len(sequence.blocks))
            if self._sequences.allocate(sequence, len(sequence.ids) - 1):
                sequence.stored = len(sequence.ids) - 1
                new.extend((at, place, block) for place, block in enumerate(sequence.blocks[held:], held))
            else:
                self._sequences.drop(sequence)
        self._sequences.pool.save([block for _, _, block in new], bucket.data, [at for at, _, _ in new], [place for _, place, _ in new])

    def drop(self, reply: PendingReply) -> None:
        for bucket in self.buckets:
            if reply in bucket.rows:
                bucket.drop([bucket.rows.index(reply)])


class BlockBatch:
    """Rows in the pool's blocks, for float32 on a CPU. The pool has room for all of them: see `positions`."""

    def __init__(self, sequences: Sequences, max_length: int, rows: int) -> None:
        self._sequences = sequences
        self._tables = torch.zeros(rows, blocks_for(max_length), dtype=torch.int64)
        self._lines = self._tables.numpy()
        self._old: list[PendingReply] = []
        self._new: list[PendingReply] = []

    @staticmethod
    def positions(max_length: int, rows: int) -> int:
        """Positions that so many rows may need memory for beside what is kept for idle streams: of each one block more, for the end of a
        shared prefix that is held until it is copied.
        """
        return rows * (blocks_for(max_length) + 1) * BLOCK

    @property
    def replies(self) -> list[PendingReply]:
        return self._old + self._new

    @property
    def active(self) -> int:
        return len(self._old) + len(self._new)

    def grow(self, step: int) -> None:
        self._old, self._new = self.replies, []
        for reply in self._old:
            if reply.base + step >= len(reply.sequence.blocks) * BLOCK:
                self._extend(reply, reply.base + step + 1)

    def _extend(self, reply: PendingReply, positions: int) -> None:
        """Gives a row blocks for so many positions. They are there: all rows together need no more than the pool has."""
        held = len(reply.sequence.blocks)
        while not self._sequences.allocate(reply.sequence, positions):
            if not self._sequences.prefix_cache.forget_oldest():
                raise MemoryError("no memory for the keys and values of a reply in the making")
        self._lines[reply.slot, held : len(reply.sequence.blocks)] = reply.sequence.blocks[held:]

    def enter(self, replies: Sequence[PendingReply]) -> None:
        pool = self._sequences.pool
        for reply in replies:
            if reply.source is not None:
                # Held before any row takes blocks that are new to it, as that may push the source out.
                reply.sequence.blocks = pool.incref(reply.source.blocks[: blocks_for(reply.sequence.stored)])
        begun: list[int] = []
        own: list[int] = []
        for reply in replies:
            sequence = reply.sequence
            shared = sequence.blocks.pop() if reply.source is not None and sequence.stored % BLOCK else None
            self._lines[reply.slot, : len(sequence.blocks)] = sequence.blocks
            self._extend(reply, len(sequence.ids))
            if shared is not None:
                begun.append(shared)
                own.append(sequence.blocks[sequence.stored // BLOCK])
        pool.copy(begun, own)
        pool.free(begun)
        self._new = list(replies)

    def parts(self, order: Tensor, positions: Tensor) -> list[Part]:
        old = len(positions)
        new: list[tuple[int, int, int, int]] = []
        at = old
        for reply in self._new:
            new.append((reply.slot, reply.sequence.stored, at, reply.sequence.new))
            at += reply.sequence.new
        decoding = torch.stack([order[:old], positions, torch.arange(old), torch.ones_like(positions)], dim=1)
        # Rows with most work first: threads that are done early take the light ones.
        lines = torch.cat([torch.tensor(new, dtype=torch.int64).view(-1, 4), decoding])
        return [Blocks(lines, self._tables, self._sequences.pool.data, at)]

    def keep(self) -> None:
        begun: list[int] = []
        kept: list[int] = []
        for reply in self._new:
            if reply.fresh:
                for place, block in self._sequences.prefix_cache.add(
                    reply.sequence.ids, reply.sequence.prefix_hashes, reply.sequence.blocks
                ).items():
                    begun.append(reply.sequence.blocks[place])
                    kept.append(block)
        self._sequences.pool.copy(begun, kept)

    def leave(self, replies: Sequence[PendingReply]) -> None:
        slots = {reply.slot for reply in replies}
        self._old, self._new = [reply for reply in self.replies if reply.slot not in slots], []
        for reply in replies:
            reply.sequence.stored = len(reply.sequence.ids) - 1

    def drop(self, reply: PendingReply) -> None:
        self._old, self._new = [other for other in self.replies if other is not reply], []


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
