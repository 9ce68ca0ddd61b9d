"""Generation over any causal Hugging Face model, in ids: knows nothing about text, chats or games.

One key-value stream per (game, role) is kept across turns, so that a turn computes only what is new; what streams begin with alike is
computed once. Every step takes one token for each row that decodes and, in the same pass, the new tokens of requests that wait. Finished
rows leave at once.
"""

import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain as joined
from itertools import count
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import Sampling
from ..models.adapter_folders import Places
from ..models.memory import out_of_memory
from .attention import PackedModel
from .forward_pass import model_length, stored_tensors
from .kv_cache import BLOCK, Pool, blocks_for, fitting
from .prefix_cache import CHUNK, SHARE, chain
from .reply_table import ENDED, FULL, GOES_ON, STOPPED, ReplyTable
from .rows import BlockBatch, BucketBatch, RunningBatch
from .sampling import Settings, draw, uniform
from .sequences import PendingReply, Sequences, Stop


@dataclass(frozen=True)
class Generated:
    """One finished reply. ids int64 [n] and logprobs float32 [n] of the sampled tokens; ended: the last id is an end token (included).

    finish: "stop" (end token or stop condition) or "length". near_ties: how many of the draws float arithmetic might have tipped.
    """

    stream: str
    tag: Any
    ids: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    finish: Literal["stop", "length"]
    ended: bool
    near_ties: int


@dataclass
class Counters:
    """What a loop has done so far. steps: forward passes. rows: the sum of rows that decoded in them. shared: tokens taken from another
    stream's prefix.
    """

    steps: int = 0
    rows: int = 0
    prefilled: int = 0
    shared: int = 0
    sampled: int = 0
    near_ties: int = 0
    preempted: int = 0

    def occupancy(self, before: "Counters", rows: int) -> float:
        """How full batches were since: replies that a forward pass drew a token for, on average, as a share of `rows`."""
        passes = self.steps - before.steps
        return (self.sampled - before.sampled) / (passes * rows) if passes else 0.0


class HFLoop:
    """submit / poll over one model.

    model: any causal model of transformers on one device. end_ids: ids that end a reply. max_rows: how many replies are made at once.
    max_length: the longest stream in tokens (default: the model's own limit). max_streams: idle streams whose caches are kept, counted at
    full length, cached prefixes among them; the least recently used lose theirs first and are rebuilt from their ids. max_memory: bytes
    that all caches may take; where max_rows and max_streams could need more, they are lowered. pool_memory: bytes that blocks for the
    compiled kernel may take, with max_rows as it is, because most streams stay far below max_length. prefill_tokens: the most new tokens
    that enter in one step. Where memory runs out all the same, max_rows is halved and the replies in the making begin again, to the
    same tokens; so they do at the next poll where an error or Ctrl-C ends one. compiler, products: see PackedModel.

    Raises ValueError where max_memory does not hold even one row, and for a model whose streams could not be kept apart (state spaces,
    convolutions), see PackedModel.
    """

    def __init__(
        self,
        model: Any,
        *,
        end_ids: frozenset[int],
        max_rows: int = 256,
        max_length: int | None = None,
        max_streams: int = 1024,
        max_memory: int | None = None,
        pool_memory: int | None = None,
        prefill_tokens: int = 8192,
        compiler: str | None = None,
        products: torch.dtype | None = None,
    ) -> None:
        self.packed = PackedModel(model, compiler, products)
        self.end_ids = end_ids
        own = model_length(model)
        self.max_length = min(own, max_length or own)
        self.max_rows, blocks = max_rows, max_streams * blocks_for(self.max_length)
        if max_memory is not None:
            self.max_rows, blocks = fitting(self.packed.layout, self.max_length, self._extra_positions, max_rows, blocks, max_memory)
        least = (blocks_for(self.max_length) + 1) * BLOCK
        self._pool_positions = None if pool_memory is None else max(least, pool_memory // self.packed.layout.bytes_per_token)
        self.prefill_tokens = prefill_tokens
        self.counters = Counters()
        device = self.packed.device
        self._ends = torch.tensor(sorted(end_ids), dtype=torch.int64, device=device)
        self._cached_blocks = blocks
        self._sequences = Sequences(self._make_pool())
        self._batch = self._make_batch()
        self._waiting: deque[PendingReply] = deque()
        self._done: list[Generated] = []
        self._numbers = count()
        self._slots = list(range(self.max_rows - 1, -1, -1))
        self._table = ReplyTable(self.max_rows, device)
        self._step = 0
        self._watched_weights: list[Tensor] = []
        self._weights = self._version()

    def _extra_positions(self, rows: int) -> int:
        """Positions that so many rows may need memory for, beside what is kept for idle streams."""
        return (BlockBatch if self.packed.in_blocks else BucketBatch).positions(self.max_length, rows)

    def _make_pool(self) -> Pool:
        if not self.packed.in_blocks:
            return Pool(self.packed.layout, self._cached_blocks)
        blocks = self._cached_blocks + self._extra_positions(self.max_rows) // BLOCK
        if self._pool_positions is not None:
            blocks = min(blocks, self._pool_positions // BLOCK)
        return Pool(self.packed.layout, blocks, clean=False)

    def _make_batch(self) -> RunningBatch:
        if self.packed.in_blocks:
            return BlockBatch(self._sequences, self.max_length, self.max_rows)
        return BucketBatch(self.packed.layout, self._sequences, self.max_length, self.max_rows)

    @property
    def active(self) -> int:
        """Rows that decode at present."""
        return self._batch.active

    def memory_bound(self) -> int:
        """Bytes that caches can take at most, from the configuration alone. While one of them grows, its old and new memory exist side by
        side.
        """
        beside = 0 if self.packed.in_blocks else self._extra_positions(self.max_rows)
        return self.packed.layout.bytes_per_token * (self._sequences.pool.limit * BLOCK + beside)

    def held_bound(self, streams: int, length: int, prompts: int) -> tuple[int, int]:
        """Bytes that caches take at most while so many streams of so many tokens are in play, and how many more for a moment while they
        grow, as their old and new memory then exist side by side. prompts: different first prompts in all, of which a share is kept.
        """
        rows, length = min(streams, self.max_rows), min(length, self.max_length)
        limit = self._sequences.pool.limit
        begun = min(limit // SHARE, prompts * blocks_for(length))
        blocks = min(limit, streams * (blocks_for(length) + 1) + begun)
        # A pool doubles. On a CPU what it does not use of its new memory is never touched, unless it is made clean.
        room = blocks if self.packed.in_blocks else min(limit, 2 * blocks)
        buckets = 0 if self.packed.in_blocks else BucketBatch.positions(length, rows)
        each = self.packed.layout.bytes_per_token
        return each * (room * BLOCK + buckets), each * (blocks * BLOCK + buckets // 2)

    def submit(
        self,
        stream: str,
        ids: Sequence[int],
        sampling: Sampling,
        seed: int,
        *,
        tag: Any = None,
        stop: Stop | None = None,
        adapter: str | None = None,
    ) -> None:
        """Appends ids to a stream (made on first use) and asks for a reply. stop: called with the sampled ids after each, ends on True.
        adapter: of the model's LoRA adapters, the one that the whole stream goes through; None is the model without any.

        A stream without room for one more token gets an empty reply that finishes by length. Raises ValueError where the stream still waits
        for a reply, has no ids at all, or has gone through another adapter.
        """
        sequence = self._sequences.get(stream, adapter)
        if sequence.adapter != adapter:
            raise ValueError(f"stream {stream!r} goes through adapter {sequence.adapter}, not {adapter}")
        if sequence.reply is not None:
            raise ValueError(f"stream {stream!r} still waits for a reply")
        if not sequence.ids:
            sequence.prefix_hashes = chain(ids, adapter)
            self._sequences.prefix_cache.ask(sequence.prefix_hashes)
        sequence.ids.extend(ids)
        if not sequence.ids:
            raise ValueError(f"stream {stream!r} is empty: there is nothing to continue")
        limit = min(sampling.max_new_tokens, self.max_length - len(sequence.ids))
        if limit <= 0:
            empty = np.zeros(0, np.int64)
            self._done.append(Generated(stream, tag, empty, empty.astype(np.float32), "length", False, 0))
            return
        sequence.reply = PendingReply(sequence, sampling, seed, limit, stop, tag, next(self._numbers), len(sequence.ids))
        self._waiting.append(sequence.reply)

    def poll(self) -> list[Generated]:
        """Works until a reply is finished; returns those finished, or nothing when nothing was submitted."""
        if self._version() != self._weights:
            self.invalidate()
        with torch.inference_mode():
            while not self._done and (self._waiting or self.active):
                try:
                    self._advance()
                    short = False
                except BaseException as error:
                    short = out_of_memory(error) and self.max_rows > 1
                    if not short:
                        self._preempt_all()
                        raise
                if short:
                    # Only here nothing refers to what the failed pass held any more.
                    self._halve()
        done, self._done = self._done, []
        return done

    def ids(self, stream: str) -> list[int]:
        """All ids of a stream."""
        return list(self._sequences[stream].ids)

    def close(self, stream: str) -> None:
        """Forgets a stream; a reply of it, finished or in the making, is dropped. Unknown streams are ignored."""
        sequence = self._sequences.pop(stream)
        if sequence is None:
            return
        self._done = [done for done in self._done if done.stream != stream]
        if sequence.reply is None:
            return
        if sequence.reply in self._waiting:
            self._waiting.remove(sequence.reply)
        else:
            with torch.inference_mode():
                self._batch.drop(sequence.reply)
            self._slots.append(sequence.reply.slot)

    def invalidate(self) -> None:
        """Drops every cache, because the weights have changed, and gives their memory back. Streams are rebuilt from their ids when they
        are next used.
        """
        if self.active:
            raise RuntimeError(f"weights changed while {self.active} replies were in the making")
        self._reset_caches()
        self.packed.forget()
        self._weights = self._version()

    def _version(self) -> int:
        """Changes whenever a parameter or a stored buffer is replaced or written in place (`.data` writes excepted)."""
        if not self.active:
            # Walking over all modules takes as long as some operations of a small model: done only when a batch begins.
            self._watched_weights = [weight for weight in stored_tensors(self.packed.model) if not weight.is_inference()]
        return hash(tuple((id(weight), weight._version) for weight in self._watched_weights))

    def _advance(self) -> None:
        """One step: admits waiting requests, runs the model once, draws and retires."""
        self._batch.grow(self._step)
        old = self.active
        self._admit()
        replies = self._batch.replies
        joining = [reply.sequence for reply in replies[old:]]
        table, device = self._table, self.packed.device
        order = torch.tensor([reply.slot for reply in replies], device=device)
        ids, positions = table.token[order[:old]], table.position[order[:old]]
        parts = self._batch.parts(order, positions)
        keep = torch.arange(old, device=device)
        if joining:
            counts, firsts = np.array([sequence.new for sequence in joining]), np.array([sequence.stored for sequence in joining])
            ends = np.cumsum(counts)
            places = np.arange(ends[-1]) + np.repeat(firsts - ends + counts, counts)
            new = list(joined.from_iterable(sequence.ids[sequence.stored :] for sequence in joining))
            ids = torch.cat([ids, torch.tensor(new, device=device)])
            positions = torch.cat([positions, torch.from_numpy(places).to(device)])
            keep = torch.cat([keep, torch.from_numpy(old - 1 + ends).to(device)])
        logits = self.packed.forward(ids, positions, keep, parts, self._adapters(replies, old))
        self._batch.keep()
        verdict = self._draw(replies, order, logits)
        self._step += 1
        self.counters.steps += 1
        self.counters.rows += old
        self.counters.prefilled += len(ids) - old
        self.counters.sampled += len(replies)
        self._retire(replies, verdict)
        self.counters.preempted = self._sequences.preempted

    def _adapters(self, replies: Sequence[PendingReply], decoding: int) -> Places:
        """Which packed tokens go through which adapter: of each reply one token, after the first `decoding` all that is new to its
        stream."""
        places: dict[str, list[int]] = {}
        at = 0
        for number, reply in enumerate(replies):
            tokens = 1 if number < decoding else reply.sequence.new
            if reply.sequence.adapter is not None:
                places.setdefault(reply.sequence.adapter, []).extend(range(at, at + tokens))
            at += tokens
        return {name: torch.tensor(found, device=self.packed.device) for name, found in places.items()}

    def _halve(self) -> None:
        """After running out of memory: half as many rows from now on."""
        self.max_rows //= 2
        warnings.warn(f"out of memory: {self.max_rows} replies at once from now on", RuntimeWarning, stacklevel=2)
        self._cached_blocks = max(self._cached_blocks // 2, blocks_for(self.max_length))
        self._preempt_all()
        if self.packed.device.type == "cuda":
            torch.cuda.empty_cache()

    def _preempt_all(self) -> None:
        """Lets what was in the making wait again and gives all caches back: a step that was broken off leaves nothing behind. As draws
        depend on the request alone, replies come to the same tokens.
        """
        self._done = [done for done in self._done if self._sequences[done.stream].reply is None]
        replies = [sequence.reply for sequence in self._sequences if sequence.reply is not None]
        for reply in replies:
            reply.slot = -1
            del reply.sequence.ids[reply.asked :]
        self._waiting = deque(sorted(replies, key=lambda reply: reply.number))
        self._slots = list(range(self.max_rows - 1, -1, -1))
        self._reset_caches()

    def _reset_caches(self) -> None:
        """Gives the memory of all caches back. Streams are rebuilt from their ids when they are next used."""
        self._sequences.renew(self._make_pool())
        self._batch = self._make_batch()
        for reply in self._waiting:
            self._sequences.prefix_cache.ask(reply.sequence.prefix_hashes)

    def _admit(self) -> None:
        """Lets waiting requests join this step, but not while too few wait to be worth a larger pass."""
        active = self.active
        room = min(len(self._slots), len(self._waiting))
        if not room or (active and room < min(8, active // 8)):
            return
        joining: list[PendingReply] = []
        computing: set[int] = set()
        held: list[PendingReply] = []
        tokens = 0
        while self._waiting and self._slots:
            reply = self._waiting[0]
            sequence = reply.sequence
            # The last id is always computed anew: its logits are what the reply begins with.
            sequence.stored = min(sequence.stored, len(sequence.ids) - 1)
            source, shared = (
                self._sequences.prefix_cache.find(sequence.ids, sequence.prefix_hashes) if not sequence.blocks else (None, sequence.stored)
            )
            if len(sequence.prefix_hashes) * CHUNK > shared and sequence.prefix_hashes[shared // CHUNK] in computing:
                # Another stream is computing more of what it begins with: in the next step that is there to be shared.
                held.append(self._waiting.popleft())
                continue
            tokens += len(sequence.ids) - shared
            if joining and tokens > self.prefill_tokens:
                break
            self._waiting.popleft()
            sequence.stored, reply.source = shared, source
            reply.slot = self._slots.pop()
            reply.base = len(sequence.ids) - self._step - 1
            self.counters.shared += shared if source else 0
            reply.fresh = not sequence.blocks
            if reply.fresh:
                computing.update(self._sequences.prefix_cache.worth(sequence.prefix_hashes))
            joining.append(reply)
        self._waiting.extendleft(reversed(held))
        self._table.enter(
            [reply.slot for reply in joining],
            [len(reply.sequence.ids) - 1 for reply in joining],
            [reply.limit for reply in joining],
            [reply.seed for reply in joining],
        )
        self._batch.enter(joining)

    def _draw(self, replies: Sequence[PendingReply], order: Tensor, logits: Tensor) -> list[int]:
        """Draws one token per row and records it; per row what that means, see `ReplyTable.record`."""
        table = self._table
        step = table.step[order]
        if any(reply.sampling.min_new_tokens for reply in replies) and len(self._ends):
            least = torch.tensor([reply.sampling.min_new_tokens for reply in replies], device=logits.device)
            logits = logits.clone()
            logits[:, self._ends] = logits[:, self._ends].masked_fill((step < least)[:, None], -torch.inf)
        drawn = draw(
            logits,
            uniform(table.seed[order], step),
            Settings.of([reply.sampling for reply in replies], logits.device),
        )
        return table.record(order, step, drawn.ids, drawn.logprobs, drawn.near, self._ends)

    def _retire(self, replies: Sequence[PendingReply], verdict: Sequence[int]) -> None:
        """Hands out finished replies and keeps their caches in the pool. verdict: per reply, see `ReplyTable.record`."""
        flags = {reply.slot: flag for reply, flag in zip(replies, verdict, strict=True) if flag != GOES_ON}
        asking = [
            (reply.slot, reply.stop, reply.sampling.min_new_tokens) for reply in replies if reply.stop and flags.get(reply.slot) != ENDED
        ]
        sampled = self._table.sampled([slot for slot, _, _ in asking]) if asking else []
        for (slot, stop, least), ids_so_far in zip(asking, sampled, strict=True):
            if len(ids_so_far) >= least and stop(ids_so_far):
                flags[slot] = STOPPED
        over = [reply for reply in replies if reply.slot in flags]
        if not over:
            return
        ids, logprobs, near = self._table.collect([reply.slot for reply in over])
        for i, reply in enumerate(over):
            sequence, flag = reply.sequence, flags[reply.slot]
            self._slots.append(reply.slot)
            self._sequences.used(sequence)
            sequence.ids.extend(ids[i].tolist())
            finish: Literal["stop", "length"] = "length" if flag == FULL else "stop"
            self._done.append(Generated(sequence.key, reply.tag, ids[i], logprobs[i], finish, flag == ENDED, near[i]))
            self.counters.near_ties += near[i]
        self._batch.leave(over)
        for reply in over:
            # Only now may others take a stream's blocks.
            reply.sequence.reply = None
