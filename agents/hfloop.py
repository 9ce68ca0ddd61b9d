"""Generation over any causal Hugging Face model, in ids: knows nothing about text, chats or games.

One key-value stream per (game, role) is kept across turns, so that a turn computes only what is new; what streams begin with alike is
computed once. Rows that decode sit in dense lanes by
length; every step takes one token for each of them and, in the same pass, the new tokens of requests that wait. Finished rows leave at
once.
"""

import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain as joined
from itertools import count
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .adapters import Places
from .core import Sampling
from .hfattention import Decode, PackedModel, Prefill
from .hfmodel import model_length, stored_tensors
from .kvcache import BLOCK, Lane, Lanes, Pool, blocks_for, cache_bytes, fitting, lane_length, lane_positions
from .prefixes import CHUNK, Chain, Prefix, Prefixes, chain
from .reply_table import ENDED, FULL, GOES_ON, STOPPED, Replies
from .sampling import Settings, draw, uniform

_ROOM = 8
"""Positions that a row should have left in the lane it enters."""

Stop = Callable[[Sequence[int]], bool]


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
    stream's beginning.
    """

    steps: int = 0
    rows: int = 0
    prefilled: int = 0
    shared: int = 0
    sampled: int = 0
    near_ties: int = 0
    rebuilt: int = 0

    def occupancy(self, before: "Counters", rows: int) -> float:
        """How full batches were since: replies that a forward pass drew a token for, on average, as a share of `rows`."""
        passes = self.steps - before.steps
        return (self.sampled - before.sampled) / (passes * rows) if passes else 0.0


@dataclass(eq=False)
class _Stream:
    """ids: all of the stream. blocks: where the keys and values of its first `stored` ids are. begins: the hashes of its first prompt.
    adapter: what all of it goes through.
    """

    key: str
    adapter: str | None = None
    ids: list[int] = field(default_factory=list)
    begins: Chain = ()
    blocks: list[int] = field(default_factory=list)
    stored: int = 0
    job: "_Job | None" = None

    @property
    def new(self) -> int:
        """Ids whose keys and values have yet to be computed."""
        return len(self.ids) - self.stored


@dataclass(eq=False)
class _Job:
    """A reply in the making. number: in the order of submission. slot: its row in the tables of replies. base: position of its
    next token minus the number of the step. source: the prompt that its stream takes its beginning from.
    """

    stream: _Stream
    sampling: Sampling
    seed: int
    limit: int
    stop: Stop | None
    tag: Any
    number: int
    slot: int = -1
    base: int = 0
    source: Prefix | None = None


class HFLoop:
    """submit / poll over one model.

    model: any causal model of transformers on one device. end_ids: ids that end a reply. max_rows: how many replies are made at once.
    max_length: the longest stream in tokens (default: the model's own limit). max_streams: idle streams whose caches are kept, counted at
    full length, kept beginnings among them; the least recently used lose theirs first and are rebuilt from their ids. max_memory: bytes
    that all caches may take; where max_rows and max_streams could need more, they are lowered. prefill_tokens: the most new tokens that
    enter in one step. Where a GPU's memory runs out all the same, max_rows is halved and the replies in the making begin again, to the
    same tokens. compiler: see PackedModel.

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
        prefill_tokens: int = 8192,
        compiler: str | None = None,
    ) -> None:
        self.packed = PackedModel(model, compiler)
        self.end_ids = end_ids
        own = model_length(model)
        self.max_length = min(own, max_length or own)
        self.max_rows, blocks = max_rows, max_streams * blocks_for(self.max_length)
        if max_memory is not None:
            self.max_rows, blocks = fitting(self.packed.layout, self.max_length, max_rows, blocks, max_memory)
        self.prefill_tokens = prefill_tokens
        self.counters = Counters()
        device = self.packed.device
        self._ends = torch.tensor(sorted(end_ids), dtype=torch.int64, device=device)
        self._pool = Pool(self.packed.layout, blocks)
        self._prefixes = Prefixes(self._pool)
        self._lanes: Lanes[_Job] = Lanes(self.packed.layout, lane_positions(self.max_length, self.max_rows))
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._waiting: deque[_Job] = deque()
        self._done: list[Generated] = []
        self._numbers = count()
        self._slots = list(range(self.max_rows - 1, -1, -1))
        self._replies = Replies(self.max_rows, device)
        self._step = 0
        self._weighing: list[Tensor] = []
        self._weights = self._version()

    @property
    def active(self) -> int:
        """Rows that decode at present."""
        return sum(len(lane.rows) for lane in self._lanes)

    def memory_bound(self) -> int:
        """Bytes that pool and lanes can take at most, from the configuration alone. While one of them grows, its old and new memory exist
        side by side.
        """
        return cache_bytes(self.packed.layout, self.max_length, self.max_rows, self._pool.limit)

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
        row = self._streams.setdefault(stream, _Stream(stream, adapter))
        if row.adapter != adapter:
            raise ValueError(f"stream {stream!r} goes through adapter {row.adapter}, not {adapter}")
        if row.job is not None:
            raise ValueError(f"stream {stream!r} still waits for a reply")
        if not row.ids:
            row.begins = chain(ids, adapter)
            self._prefixes.ask(row.begins)
        row.ids.extend(ids)
        if not row.ids:
            raise ValueError(f"stream {stream!r} is empty: there is nothing to continue")
        limit = min(sampling.max_new_tokens, self.max_length - len(row.ids))
        if limit <= 0:
            empty = np.zeros(0, np.int64)
            self._done.append(Generated(stream, tag, empty, empty.astype(np.float32), "length", False, 0))
            return
        row.job = _Job(row, sampling, seed, limit, stop, tag, next(self._numbers))
        self._waiting.append(row.job)

    def poll(self) -> list[Generated]:
        """Works until a reply is finished; returns those finished, or nothing when nothing was submitted."""
        if self._version() != self._weights:
            self.invalidate()
        with torch.inference_mode():
            while not self._done and (self._waiting or self.active):
                try:
                    self._advance()
                    short = False
                except torch.OutOfMemoryError:
                    if self.max_rows == 1:
                        raise
                    short = True
                if short:
                    # Only here nothing refers to what the failed pass held any more.
                    self._halve()
        done, self._done = self._done, []
        return done

    def ids(self, stream: str) -> list[int]:
        """All ids of a stream."""
        return list(self._streams[stream].ids)

    def close(self, stream: str) -> None:
        """Forgets a stream; a reply of it, finished or in the making, is dropped. Unknown streams are ignored."""
        row = self._streams.pop(stream, None)
        if row is None:
            return
        self._pool.give(row.blocks)
        self._done = [done for done in self._done if done.stream != stream]
        if row.job is None:
            return
        if row.job in self._waiting:
            self._waiting.remove(row.job)
        for lane in self._lanes:
            if row.job in lane.rows:
                with torch.inference_mode():
                    lane.drop([lane.rows.index(row.job)])
                self._slots.append(row.job.slot)

    def invalidate(self) -> None:
        """Drops every cache, because the weights have changed. Streams are rebuilt from their ids when they are next used."""
        if self.active:
            raise RuntimeError(f"weights changed while {self.active} replies were in the making")
        for row in self._streams.values():
            self._drop_cache(row)
        self._lanes.clear()
        self._prefixes.clear()
        for job in self._waiting:
            self._prefixes.ask(job.stream.begins)
        self._weights = self._version()

    def _version(self) -> int:
        """Changes whenever a parameter or a stored buffer is replaced or written in place (`.data` writes excepted)."""
        if not self.active:
            # Walking over all modules takes as long as some operations of a small model: done only when a batch begins.
            self._weighing = [weight for weight in stored_tensors(self.packed.model) if not weight.is_inference()]
        return hash(tuple((id(weight), weight._version) for weight in self._weighing))

    def _drop_cache(self, row: _Stream) -> None:
        self._pool.give(row.blocks)
        row.blocks, row.stored = [], 0

    def _advance(self) -> None:
        """One step: promotes rows that outgrew their lane, admits waiting requests, runs the model once, draws and retires."""
        self._promote()
        decoding = [(lane, len(lane.rows)) for lane in self._lanes if lane.rows]
        old = sum(count for _, count in decoding)
        joining = self._admit()
        jobs = [job for lane, count in decoding for job in lane.rows[:count]]
        jobs += [job for lane, first in joining for job in lane.rows[first:]]
        replies, device = self._replies, self.packed.device
        order = torch.tensor([job.slot for job in jobs], device=device)
        ids, positions = replies.token[order[:old]], replies.position[order[:old]]
        parts: list[Decode | Prefill] = []
        at = 0
        for lane, rows in decoding:
            parts.append(Decode(at, lane.data, positions[at : at + rows]))
            at += rows
        keep = [torch.arange(old, device=device)]
        new: list[int] = []
        for lane, first in joining:
            streams = [job.stream for job in lane.rows[first:]]
            for start, stop in _alike([row.new for row in streams]):
                some = streams[start:stop]
                data = lane.data[:, first + start : first + stop]
                part = Prefill(old + len(new), data, [row.stored for row in some], [row.new for row in some])
                parts.append(part)
                keep.append(part.last)
                positions = torch.cat([positions, part.positions])
                new.extend(joined.from_iterable(row.ids[row.stored :] for row in some))
        if new:
            ids = torch.cat([ids, torch.tensor(new, device=device)])
        logits = self.packed.forward(ids, positions, torch.cat(keep), parts, self._adapters(jobs, old))
        for lane, first in joining:
            self._keep_beginnings(lane, first)
        verdict = self._draw(jobs, order, logits)
        self._step += 1
        self.counters.steps += 1
        self.counters.rows += old
        self.counters.prefilled += len(new)
        self.counters.sampled += len(jobs)
        self._retire(jobs, verdict)

    def _adapters(self, jobs: Sequence[_Job], decoding: int) -> Places:
        """Which packed tokens go through which adapter: of each job one token, after the first `decoding` all that is new to its stream."""
        places: dict[str, list[int]] = {}
        at = 0
        for number, job in enumerate(jobs):
            tokens = 1 if number < decoding else job.stream.new
            if job.stream.adapter is not None:
                places.setdefault(job.stream.adapter, []).extend(range(at, at + tokens))
            at += tokens
        return {name: torch.tensor(found, device=self.packed.device) for name, found in places.items()}

    def _halve(self) -> None:
        """After running out of memory: half as many rows from now on. What was in the making begins again; as draws depend on the request
        alone, to the same tokens.
        """
        self.max_rows //= 2
        warnings.warn(f"out of memory: {self.max_rows} replies at once from now on", RuntimeWarning, stacklevel=2)
        jobs = [row.job for row in self._streams.values() if row.job is not None]
        for row in self._streams.values():
            self._drop_cache(row)
        self._lanes = Lanes(self.packed.layout, lane_positions(self.max_length, self.max_rows))
        self._prefixes.clear()
        self._pool = Pool(self.packed.layout, max(self._pool.limit // 2, blocks_for(self.max_length)))
        self._prefixes = Prefixes(self._pool)
        self._slots = list(range(self.max_rows - 1, -1, -1))
        self._waiting = deque(sorted(jobs, key=lambda job: job.number))
        if self.packed.device.type == "cuda":
            torch.cuda.empty_cache()

    def _lane_for(self, positions: int) -> Lane[_Job]:
        """The lane for rows that hold `positions` tokens."""
        return self._lanes.of(lane_length(positions, self.max_length))

    def _promote(self) -> None:
        for lane in self._lanes:
            full = [i for i, job in enumerate(lane.rows) if job.base + self._step >= lane.length]
            if full:
                self._lane_for(lane.length + 1).take(lane, full)
                lane.drop(full)

    def _admit(self) -> list[tuple[Lane[_Job], int]]:
        """Lets waiting requests join this step: lanes, and their first row that is new. None join while too few wait to be worth a larger
        pass.
        """
        active = self.active
        room = min(len(self._slots), len(self._waiting))
        if not room or (active and room < min(8, active // 8)):
            return []
        joining: dict[int, list[_Job]] = {}
        computing: set[int] = set()
        held: list[_Job] = []
        tokens = 0
        while self._waiting and self._slots:
            job = self._waiting[0]
            row = job.stream
            # The last id is always computed anew: its logits are what the reply begins with.
            row.stored = min(row.stored, len(row.ids) - 1)
            source, shared = self._prefixes.find(row.ids, row.begins) if not row.blocks else (None, row.stored)
            if len(row.begins) * CHUNK > shared and row.begins[shared // CHUNK] in computing:
                # Another stream is computing more of what it begins with: in the next step that is there to be shared.
                held.append(self._waiting.popleft())
                continue
            tokens += len(row.ids) - shared
            if joining and tokens > self.prefill_tokens:
                break
            self._waiting.popleft()
            row.stored, job.source = shared, source
            job.slot = self._slots.pop()
            job.base = len(row.ids) - self._step - 1
            self.counters.shared += shared if source else 0
            if not row.blocks:
                computing.update(self._prefixes.worth(row.begins))
            lane = self._lane_for(min(len(row.ids) + _ROOM, self.max_length))
            joining.setdefault(lane.length, []).append(job)
        self._waiting.extendleft(reversed(held))
        for jobs in joining.values():
            jobs.sort(key=lambda job: job.stream.new)
        new = list(joined.from_iterable(joining.values()))
        self._replies.enter(
            [job.slot for job in new], [len(job.stream.ids) - 1 for job in new], [job.limit for job in new], [job.seed for job in new]
        )
        lanes = [(self._lanes.of(length), jobs) for length, jobs in joining.items()]
        return [(lane, self._enter(lane, jobs)) for lane, jobs in lanes]

    def _keep_beginnings(self, lane: Lane[_Job], first: int) -> None:
        """Keeps the first prompts of the rows that have just been computed from `first` on."""
        blocks: list[int] = []
        rows: list[int] = []
        places: list[int] = []
        for at, job in enumerate(lane.rows[first:], first):
            if not job.stream.blocks:
                new = self._prefixes.add(job.stream.ids, job.stream.begins)
                blocks += new
                rows += [at] * len(new)
                places += range(len(new))
        self._pool.save(blocks, lane.data, rows, places)

    def _enter(self, lane: Lane[_Job], jobs: Sequence[_Job]) -> int:
        """Puts jobs at the end of a lane, with what the pool holds of their streams; the first one's row."""
        first = len(lane.rows)
        lane.add(jobs)
        held = [(job.source or job.stream).blocks[: blocks_for(job.stream.stored)] for job in jobs]
        self._pool.load(
            list(joined.from_iterable(held)),
            lane.data,
            [i for i, blocks in enumerate(held, first) for _ in blocks],
            [place for blocks in held for place in range(len(blocks))],
        )
        return first

    def _draw(self, jobs: Sequence[_Job], order: Tensor, logits: Tensor) -> list[int]:
        """Draws one token per row and records it; per row what that means, see `Replies.record`."""
        replies = self._replies
        step = replies.step[order]
        if any(job.sampling.min_new_tokens for job in jobs) and len(self._ends):
            least = torch.tensor([job.sampling.min_new_tokens for job in jobs], device=logits.device)
            logits = logits.clone()
            logits[:, self._ends] = logits[:, self._ends].masked_fill((step < least)[:, None], -torch.inf)
        drawn = draw(
            logits,
            uniform(replies.seed[order], step),
            Settings.of([job.sampling for job in jobs], logits.device),
        )
        return replies.record(order, step, drawn.ids, drawn.logprobs, drawn.near, self._ends)

    def _retire(self, jobs: Sequence[_Job], verdict: Sequence[int]) -> None:
        """Hands out finished replies and keeps their caches in the pool. verdict: per job, see `Replies.record`."""
        flags = {job.slot: flag for job, flag in zip(jobs, verdict, strict=True) if flag != GOES_ON}
        asking = [(job.slot, job.stop, job.sampling.min_new_tokens) for job in jobs if job.stop and flags.get(job.slot) != ENDED]
        said = self._replies.sampled([slot for slot, _, _ in asking]) if asking else []
        for (slot, stop, least), ids in zip(asking, said, strict=True):
            if len(ids) >= least and stop(ids):
                flags[slot] = STOPPED
        if not flags:
            return
        for lane in self._lanes:
            over = [place for place, job in enumerate(lane.rows) if job.slot in flags]
            if over:
                self._finish(lane, over, [flags[lane.rows[place].slot] for place in over])
                lane.drop(over)

    def _finish(self, lane: Lane[_Job], places: Sequence[int], flags: Sequence[int]) -> None:
        blocks: list[int] = []
        rows: list[int] = []
        at: list[int] = []
        jobs = [lane.rows[place] for place in places]
        ids, logprobs, near = self._replies.collect([job.slot for job in jobs])
        for i, (job, flag) in enumerate(zip(jobs, flags, strict=True)):
            row = job.stream
            self._slots.append(job.slot)
            row.ids.extend(ids[i].tolist())
            finish: Literal["stop", "length"] = "length" if flag == FULL else "stop"
            self._done.append(Generated(row.key, job.tag, ids[i], logprobs[i], finish, flag == ENDED, near[i]))
            self.counters.near_ties += near[i]
            held = min(row.stored // BLOCK, len(row.blocks))
            if self._store(row, len(row.ids) - 1):
                new = range(held, len(row.blocks))
                blocks.extend(row.blocks[held:])
                rows.extend([places[i]] * len(new))
                at.extend(new)
        for job in jobs:
            # Only now may others take a stream's blocks.
            job.stream.job = None
        self._pool.save(blocks, lane.data, rows, at)

    def _store(self, row: _Stream, positions: int) -> bool:
        """Makes room in the pool for a stream's first `positions`, at the cost of the least recently used; False where there is none."""
        self._streams.move_to_end(row.key)
        need = blocks_for(positions) - len(row.blocks)
        if self._pool.available() < need:
            for other in self._streams.values():
                if other.job is None and other is not row and other.blocks:
                    self._drop_cache(other)
                    self.counters.rebuilt += 1
                if self._pool.available() >= need:
                    break
            else:
                self._drop_cache(row)
                return False
        new = self._pool.take(need) if need > 0 else []
        if new is None:
            self._drop_cache(row)
            return False
        row.blocks.extend(new)
        row.stored = positions
        return True


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
