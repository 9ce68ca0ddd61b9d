"""Training rows and batches of them: what the learner reads. Knows nothing of games, words or models."""

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.agents.core import Segment


@dataclass(frozen=True)
class Row:
    """One token stream to learn from.

    ids: int64 [n]. action: bool [n], True where the token is trained on: the policy's own in games, the text to imitate elsewhere; the
    first token never is. sampler_logprobs: float32 [n], the log-probabilities that the sampler gave its tokens at `temperature`, 0 where
    no action is; None where the row was not sampled as it stands. advantages: float32 [n], 0 outside actions. weight: of all its tokens.
    role: for metrics. reference_logprobs: float32 [n], those of the reference policy at `temperature`; None until somebody scores them.
    """

    ids: NDArray[np.int64]
    action: NDArray[np.bool_]
    sampler_logprobs: NDArray[np.float32] | None
    advantages: NDArray[np.float32]
    weight: float = 1.0
    temperature: float = 1.0
    role: str = ""
    reference_logprobs: NDArray[np.float32] | None = None

    @property
    def actions(self) -> int:
        """How many of its tokens are trained on."""
        return int(self.action.sum())


@dataclass(frozen=True)
class Pair:
    """Two rows that are learnt from together: `chosen` is to become likelier than `rejected`, compared with the reference policy."""

    chosen: Row
    rejected: Row


Example = Row | Pair
"""What stays together in a minibatch and in a micro-batch."""
E = TypeVar("E", bound=Example)
LEAST_SHARED = 0.1
"""The least share of tokens that rows have in common for which it is worth computing them once."""


def rows_of(examples: Iterable[Example]) -> list[Row]:
    """All rows, in order; of a pair the chosen one first."""
    return [row for e in examples for row in ((e.chosen, e.rejected) if isinstance(e, Pair) else (e,))]


def digest(examples: Iterable[Example]) -> str:
    """SHA-256 of what is learnt from examples: tells them from other ones."""
    of = hashlib.sha256()
    for row in rows_of(examples):
        for part in (row.ids, row.action, row.advantages):
            of.update(part.tobytes())
    return of.hexdigest()


def row_from_segment(segment: Segment, advantages: float | NDArray[np.float32], *, weight: float = 1.0, role: str = "") -> Row:
    """A policy row of a sampled segment, up to its last action: what was said to a player who had no room left for an answer teaches
    nothing, and may go beyond the context. advantages: one number for all its actions, or one per token [n]."""
    end = int(np.flatnonzero(segment.action)[-1]) + 1 if segment.action.any() else 1
    full = np.broadcast_to(np.asarray(advantages, np.float32), segment.ids.shape)
    values = np.where(segment.action, full, np.float32(0)).astype(np.float32)
    return Row(segment.ids[:end], segment.action[:end], segment.logprobs[:end], values[:end], weight, segment.temperature, role)


def sft_row(ids: Sequence[int], action: Sequence[bool], *, weight: float = 1.0, role: str = "") -> Row:
    """A row to imitate: ids [n], action [n] True on what is learnt."""
    zeros = np.zeros(len(ids), np.float32)
    return Row(np.asarray(ids, np.int64), np.asarray(action, np.bool_), None, zeros, weight, 1.0, role)


@dataclass(frozen=True)
class TokenBatch:
    """Rows that go through a model together: one after the other in one sequence (B = 1, L = tokens of all rows), or each padded on the
    right to the longest (B = rows). A actions in all rows together.

    ids [B, L] int64. positions [1, L] int64, of rows in one sequence; None where they are padded. lengths: tokens by row, in the order in
    which rows lie. starts: of a row's tokens, the first so many are those of the row that lies before it, and are there once. The rest
    describes actions, in the order of the rows that were given: rows [A] int64, the row of each; places [A] int64, where in the B * L ids
    the token *before* the action is, whose logits predict it; targets [A] int64; advantages, weights, temperature [A] float32;
    sampler_logprobs and reference_logprobs [A] float32, None where not all rows hold them.
    """

    ids: Tensor
    positions: Tensor | None
    lengths: tuple[int, ...]
    starts: tuple[int, ...]
    rows: Tensor
    places: Tensor
    targets: Tensor
    advantages: Tensor
    weights: Tensor
    temperature: Tensor
    sampler_logprobs: Tensor | None
    reference_logprobs: Tensor | None

    def to(self, device: torch.device) -> "TokenBatch":
        moved: dict[str, Any] = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def collate(rows: Sequence[Row], *, packed: bool = False, shared: bool = False) -> TokenBatch:
    """One batch of rows. packed: in one sequence, not padded. shared: of rows in one sequence, beginnings that are equal lie there once
    where that is worth it. Raises ValueError where a first token is an action: nothing predicts it."""
    if any(row.action[0] for row in rows):
        raise ValueError("the first token of a row cannot be an action: no token predicts it")
    order, starts = _arranged(rows) if packed and shared else (list(range(len(rows))), [0] * len(rows))
    lengths = [len(rows[i].ids) for i in order]
    places = packed_places(lengths, starts) if packed else [np.arange(n) + max(lengths) * i for i, n in enumerate(lengths)]
    where = dict(zip(order, places, strict=True))
    ids = np.zeros(sum(lengths) - sum(starts) if packed else max(lengths) * len(rows), np.int64)
    for i, row in enumerate(rows):
        ids[where[i]] = row.ids
    actions = [np.flatnonzero(row.action) for row in rows]
    counts = [len(a) for a in actions]

    def on_actions(values: Sequence[NDArray[np.float32] | None]) -> Tensor | None:
        known = [v[a] for v, a in zip(values, actions, strict=True) if v is not None]
        return torch.from_numpy(np.concatenate(known)) if len(known) == len(rows) else None

    def per_row(values: list[float]) -> Tensor:
        return torch.tensor(np.repeat(np.asarray(values, np.float32), counts))

    advantages = on_actions([row.advantages for row in rows])
    assert advantages is not None, "every row has advantages"
    return TokenBatch(
        ids=torch.from_numpy(ids.reshape(1 if packed else len(rows), -1)),
        positions=row_positions(lengths, starts)[None] if packed else None,
        lengths=tuple(lengths),
        starts=tuple(starts),
        rows=torch.from_numpy(np.repeat(np.arange(len(rows)), counts)),
        places=torch.from_numpy(np.concatenate([where[i][a - 1] for i, a in enumerate(actions)])),
        targets=torch.from_numpy(np.concatenate([row.ids[a] for row, a in zip(rows, actions, strict=True)])),
        advantages=advantages,
        weights=per_row([row.weight for row in rows]),
        temperature=per_row([row.temperature for row in rows]),
        sampler_logprobs=on_actions([row.sampler_logprobs for row in rows]),
        reference_logprobs=on_actions([row.reference_logprobs for row in rows]),
    )


def row_positions(lengths: Sequence[int], starts: Sequence[int] | None = None) -> Tensor:
    """The positions [L] of rows in one sequence: each begins at 0, or where it differs from the row before it."""
    return torch.cat([torch.arange(start, n) for n, start in zip(lengths, starts or [0] * len(lengths), strict=True)])


def packed_places(lengths: Sequence[int], starts: Sequence[int]) -> list[NDArray[np.int64]]:
    """Per row, where its tokens are in one sequence."""
    places: list[NDArray[np.int64]] = []
    end = 0
    for n, start in zip(lengths, starts, strict=True):
        own = np.arange(end, end + n - start)
        places.append(np.concatenate([places[-1][:start], own]) if start else own)
        end += n - start
    return places


def common_beginning(one: Row, other: Row) -> int:
    """How many first tokens two rows have in common, the last token of the other left out: every row has one of its own."""
    n = min(len(one.ids), len(other.ids) - 1)
    different = np.flatnonzero(one.ids[:n] != other.ids[:n])
    return int(different[0]) if len(different) else n


def _arranged(rows: Sequence[Row]) -> tuple[list[int], list[int]]:
    """An order of rows in which each has most in common with the one before it, and how many tokens that is; where it is hardly anything,
    the order that they have."""
    order = sorted(range(len(rows)), key=lambda i: rows[i].ids.tobytes())
    starts = [0, *(common_beginning(rows[i], rows[j]) for i, j in pairwise(order))]
    if sum(starts) < LEAST_SHARED * sum(len(row.ids) for row in rows):
        return list(range(len(rows))), [0] * len(rows)
    return order, starts


def micro_batches(examples: Sequence[E], token_budget: int, *, packed: bool = False, shared: bool = False) -> Iterator[list[E]]:
    """Examples cut into batches of at most token_budget tokens, with padding where they are not packed (a longer example comes alone).

    They are sorted by length. shared: where rows have enough in common they are sorted by their tokens, and what a batch has in common
    counts once.
    """
    rows = rows_of(examples)
    shared = packed and shared and any(_arranged(rows)[1])
    batch: list[E] = []
    size = tokens = 0
    before: Row | None = None
    for example in sorted(examples, key=_beginning if shared else _length):
        own = rows_of([example])
        alone = sum(len(row.ids) for row in own)
        new = alone - sum(common_beginning(a, b) for a, b in pairwise([before, *own] if before else own)) if shared else alone
        size += len(own)
        tokens += new
        if batch and (tokens if packed else _length(example) * size) > token_budget:
            yield batch
            batch, size, tokens = [], len(own), alone
        batch.append(example)
        before = own[-1]
    if batch:
        yield batch


def _beginning(example: Example) -> bytes:
    return rows_of([example])[0].ids.tobytes()


def _length(example: Example) -> int:
    return max(len(row.ids) for row in rows_of([example]))


def minibatches(examples: Sequence[E], size: int, seed: int) -> list[list[E]]:
    """Examples in an order that the seed draws, in parts of `size`; a last part of less than half joins the one before."""
    order = random.Random(seed).sample(range(len(examples)), k=len(examples))
    parts = [[examples[i] for i in order[start : start + size]] for start in range(0, len(order), size)]
    if len(parts) > 1 and len(parts[-1]) * 2 < size:
        last = parts.pop()
        parts[-1] += last
    return parts
