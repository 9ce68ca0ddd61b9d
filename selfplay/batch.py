"""Training rows and padded batches of them: what the learner reads. Knows nothing of games, words or models."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.agents.core import Segment

Kind = Literal["policy", "sft", "anchored-sft"]
PairKind = Literal["dpo", "ipo"]


@dataclass(frozen=True)
class Row:
    """One token stream to learn from.

    ids: int64 [n]. action: bool [n], True where the token was chosen by the learner's policy (policy rows) or is to be imitated
    (the others); the first token never is. logprobs: float32 [n], log-probabilities at `temperature` on actions, else 0: the sampler's in
    policy rows, the reference's in anchored-sft rows and in pairs. advantages: float32 [n], 0 outside actions. weight: of all its tokens.
    kind: what is made of it, policy (a policy gradient), sft (imitation), anchored-sft (imitation with SPAG's KL to the reference). role:
    for metrics.
    """

    ids: NDArray[np.int64]
    action: NDArray[np.bool_]
    logprobs: NDArray[np.float32]
    advantages: NDArray[np.float32]
    weight: float = 1.0
    temperature: float = 1.0
    kind: Kind = "policy"
    role: str = ""

    @property
    def actions(self) -> int:
        """How many of its tokens are trained on."""
        return int(self.action.sum())


@dataclass(frozen=True)
class Pair:
    """Two rows that are learnt from together: `chosen` is to become likelier than `rejected`, compared with the reference whose
    log-probabilities they hold. kind: by which loss."""

    chosen: Row
    rejected: Row
    kind: PairKind = "dpo"


Example = Row | Pair
"""What stays together in a minibatch and in a micro-batch."""
E = TypeVar("E", bound=Example)


def rows_of(examples: Iterable[Example]) -> list[Row]:
    """All rows, in order; of a pair the chosen one first."""
    return [row for e in examples for row in ((e.chosen, e.rejected) if isinstance(e, Pair) else (e,))]


def row_from_segment(segment: Segment, advantages: float | NDArray[np.float32], *, weight: float = 1.0, role: str = "") -> Row:
    """A policy row of a sampled segment. advantages: one number for all its actions, or one per token [n]."""
    full = np.broadcast_to(np.asarray(advantages, np.float32), segment.ids.shape)
    values = np.where(segment.action, full, np.float32(0)).astype(np.float32)
    return Row(segment.ids, segment.action, segment.logprobs, values, weight, segment.temperature, "policy", role)


def sft_row(ids: Sequence[int], action: Sequence[bool], *, weight: float = 1.0, role: str = "") -> Row:
    """A row to imitate: ids [n], action [n] True on what is learnt."""
    zeros = np.zeros(len(ids), np.float32)
    return Row(np.asarray(ids, np.int64), np.asarray(action, np.bool_), zeros, zeros, weight, 1.0, "sft", role)


@dataclass(frozen=True)
class TokenBatch:
    """Rows padded on the right to one length. B rows, L tokens, A actions in all rows together.

    ids [B, L] int64; real [B, L] bool, True on tokens that are no padding. The rest describes actions, in row order: at [2, A] int64, row
    and position *of the token before* the action, whose logits predict it; targets [A] int64; logprobs, advantages, weights, temperature
    [A] float32; policy [A] bool, True on actions of policy rows (False: imitation).
    """

    ids: Tensor
    real: Tensor
    at: Tensor
    targets: Tensor
    logprobs: Tensor
    advantages: Tensor
    weights: Tensor
    temperature: Tensor
    policy: Tensor

    def to(self, device: torch.device) -> "TokenBatch":
        return TokenBatch(**{name: value.to(device) for name, value in vars(self).items()})


def collate(rows: Sequence[Row]) -> TokenBatch:
    """Pads rows to one batch. Raises ValueError for a first token that is an action: nothing predicts it."""
    if any(row.action[0] for row in rows):
        raise ValueError("the first token of a row cannot be an action: no token predicts it")
    length = max(len(row.ids) for row in rows)
    ids = np.zeros((len(rows), length), np.int64)
    real = np.zeros((len(rows), length), np.bool_)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = row.ids
        real[i, : len(row.ids)] = True
    places = [np.flatnonzero(row.action) for row in rows]
    counts = [len(p) for p in places]

    def on_actions(values: list[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.concatenate([v[p] for v, p in zip(values, places, strict=True)]))

    def per_row(values: list[float]) -> Tensor:
        return torch.tensor(np.repeat(np.asarray(values, np.float32), counts))

    return TokenBatch(
        ids=torch.from_numpy(ids),
        real=torch.from_numpy(real),
        at=torch.from_numpy(np.stack([np.repeat(np.arange(len(rows)), counts), np.concatenate(places) - 1])),
        targets=torch.from_numpy(np.concatenate([row.ids[p] for row, p in zip(rows, places, strict=True)])),
        logprobs=on_actions([row.logprobs for row in rows]),
        advantages=on_actions([row.advantages for row in rows]),
        weights=per_row([row.weight for row in rows]),
        temperature=per_row([row.temperature for row in rows]),
        policy=torch.tensor(np.repeat([row.kind == "policy" for row in rows], counts)),
    )


def micro_batches(examples: Sequence[E], token_budget: int) -> Iterator[list[E]]:
    """Examples sorted by length, cut into batches of at most token_budget tokens with padding (a longer example comes alone)."""
    batch: list[E] = []
    rows = 0
    for example in sorted(examples, key=_length):
        own = len(rows_of([example]))
        if batch and _length(example) * (rows + own) > token_budget:
            yield batch
            batch, rows = [], 0
        batch.append(example)
        rows += own
    if batch:
        yield batch


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
