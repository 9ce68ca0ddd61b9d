"""Training samples and batches of them: what the learner reads. Knows nothing of games, words or models."""

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
class Sample:
    """One token stream to learn from.

    ids: int64 [n]. loss_mask: bool [n], True where the token is trained on: the policy's own in games, the demonstrated text elsewhere; the
    first token never is. sampler_logprobs: float32 [n], the log-probabilities that the sampler gave its tokens at `temperature`, 0 where
    no action is; None where the sample was not sampled as it stands. advantages: float32 [n], 0 outside actions. weight: of all its tokens.
    role: for metrics. reference_logprobs: float32 [n], those of the reference policy at `temperature`; None until somebody scores them.
    old_logprobs: float32 [n], those of the learner itself before its first step, where its rounding is not the sampler's; else None.
    """

    ids: NDArray[np.int64]
    loss_mask: NDArray[np.bool_]
    sampler_logprobs: NDArray[np.float32] | None
    advantages: NDArray[np.float32]
    weight: float = 1.0
    temperature: float = 1.0
    role: str = ""
    reference_logprobs: NDArray[np.float32] | None = None
    old_logprobs: NDArray[np.float32] | None = None

    @property
    def trained_tokens(self) -> int:
        """How many of its tokens are trained on."""
        return int(self.loss_mask.sum())


@dataclass(frozen=True)
class Pair:
    """Two samples that are learnt from together: `chosen` is to become likelier than `rejected`, compared with the reference policy."""

    chosen: Sample
    rejected: Sample


Example = Sample | Pair
"""What stays together in a minibatch and in a micro-batch."""
E = TypeVar("E", bound=Example)
LEAST_SHARED = 0.1
"""Samples are computed with shared beginnings where at least this share of their tokens is in common."""


def samples_of(examples: Iterable[Example]) -> list[Sample]:
    """All samples, in order; of a pair the chosen one first."""
    return [sample for e in examples for sample in ((e.chosen, e.rejected) if isinstance(e, Pair) else (e,))]


def digest(examples: Iterable[Example]) -> str:
    """SHA-256 of what is learnt from examples: tells them from other ones."""
    of = hashlib.sha256()
    for sample in samples_of(examples):
        for part in (sample.ids, sample.loss_mask, sample.advantages):
            of.update(part.tobytes())
    return of.hexdigest()


def sample_from_segment(segment: Segment, advantages: float | NDArray[np.float32], *, weight: float = 1.0, role: str = "") -> Sample:
    """A policy sample of a sampled segment, up to its last action: what was said to a player who had no room left for an answer teaches
    nothing, and may go beyond the context. advantages: one number for all its actions, or one per token [n]."""
    end = int(np.flatnonzero(segment.loss_mask)[-1]) + 1 if segment.loss_mask.any() else 1
    full = np.broadcast_to(np.asarray(advantages, np.float32), segment.ids.shape)
    values = np.where(segment.loss_mask, full, np.float32(0)).astype(np.float32)
    return Sample(segment.ids[:end], segment.loss_mask[:end], segment.logprobs[:end], values[:end], weight, segment.temperature, role)


def sft_sample(ids: Sequence[int], loss_mask: Sequence[bool], *, weight: float = 1.0, role: str = "") -> Sample:
    """A sample of SFT: ids [n], loss_mask [n] True on what is learnt."""
    zeros = np.zeros(len(ids), np.float32)
    return Sample(np.asarray(ids, np.int64), np.asarray(loss_mask, np.bool_), None, zeros, weight, 1.0, role)


@dataclass(frozen=True)
class TokenBatch:
    """Samples that go through a model together: one after the other in one sequence (B = 1, L = tokens of all samples), or each padded on
    the right to the longest (B = samples). A actions in all samples together.

    ids [B, L] int64. positions [1, L] int64, of samples in one sequence; None where they are padded. lengths: tokens by sample, in the
    order in which samples lie in the sequence. starts: by sample, in the same order, how many first tokens it shares with the sample
    before it; the sequence holds them once. The rest describes actions, in the order of the samples as given: sample_index [A] int64, the
    sample of each; logit_index [A] int64, where in the B * L ids the token *before* the action is, whose logits predict it; targets [A]
    int64; advantages, weights, temperature [A] float32; sampler_logprobs, reference_logprobs and old_logprobs [A] float32, None where not
    all samples hold them.
    """

    ids: Tensor
    positions: Tensor | None
    lengths: tuple[int, ...]
    starts: tuple[int, ...]
    sample_index: Tensor
    logit_index: Tensor
    targets: Tensor
    advantages: Tensor
    weights: Tensor
    temperature: Tensor
    sampler_logprobs: Tensor | None
    reference_logprobs: Tensor | None
    old_logprobs: Tensor | None

    def to(self, device: torch.device) -> "TokenBatch":
        moved: dict[str, Any] = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def collate(samples: Sequence[Sample], *, packed: bool = False, shared: bool = False) -> TokenBatch:
    """One batch of samples. packed: in one sequence, not padded. shared: a packed sequence holds equal beginnings of samples once, where
    they are at least LEAST_SHARED of all tokens. Raises ValueError where a first token is an action: nothing predicts it."""
    if any(sample.loss_mask[0] for sample in samples):
        raise ValueError("the first token of a sample cannot be an action: no token predicts it")
    order, starts = _by_beginning(samples) if packed and shared else _as_given(samples)
    lengths = [len(samples[i].ids) for i in order]
    places = packed_places(lengths, starts) if packed else [np.arange(n) + max(lengths) * i for i, n in enumerate(lengths)]
    where = dict(zip(order, places, strict=True))
    ids = np.zeros(sum(lengths) - sum(starts) if packed else max(lengths) * len(samples), np.int64)
    for i, sample in enumerate(samples):
        ids[where[i]] = sample.ids
    actions = [np.flatnonzero(sample.loss_mask) for sample in samples]
    counts = [len(a) for a in actions]

    def on_actions(values: Sequence[NDArray[np.float32] | None]) -> Tensor | None:
        known = [v[a] for v, a in zip(values, actions, strict=True) if v is not None]
        return torch.from_numpy(np.concatenate(known)) if len(known) == len(samples) else None

    def per_row(values: list[float]) -> Tensor:
        return torch.tensor(np.repeat(np.asarray(values, np.float32), counts))

    advantages = on_actions([sample.advantages for sample in samples])
    assert advantages is not None, "every sample has advantages"
    return TokenBatch(
        ids=torch.from_numpy(ids.reshape(1 if packed else len(samples), -1)),
        positions=sample_positions(lengths, starts)[None] if packed else None,
        lengths=tuple(lengths),
        starts=tuple(starts),
        sample_index=torch.from_numpy(np.repeat(np.arange(len(samples)), counts)),
        logit_index=torch.from_numpy(np.concatenate([where[i][a - 1] for i, a in enumerate(actions)])),
        targets=torch.from_numpy(np.concatenate([sample.ids[a] for sample, a in zip(samples, actions, strict=True)])),
        advantages=advantages,
        weights=per_row([sample.weight for sample in samples]),
        temperature=per_row([sample.temperature for sample in samples]),
        sampler_logprobs=on_actions([sample.sampler_logprobs for sample in samples]),
        reference_logprobs=on_actions([sample.reference_logprobs for sample in samples]),
        old_logprobs=on_actions([sample.old_logprobs for sample in samples]),
    )


def sample_positions(lengths: Sequence[int], starts: Sequence[int] = ()) -> Tensor:
    """The positions [L] of samples in one sequence: each begins at 0, or after the tokens that it shares with the sample before it."""
    return torch.cat([torch.arange(start, n) for n, start in zip(lengths, starts or [0] * len(lengths), strict=True)])


def packed_places(lengths: Sequence[int], starts: Sequence[int]) -> list[NDArray[np.int64]]:
    """Per sample, the indices [its length] of its tokens in one sequence. lengths, starts: see TokenBatch."""
    places: list[NDArray[np.int64]] = []
    end = 0
    for n, start in zip(lengths, starts, strict=True):
        new = np.arange(end, end + n - start)
        places.append(np.concatenate([places[-1][:start], new]) if start else new)
        end += n - start
    return places


def _shared_tokens(one: Sample, other: Sample) -> int:
    """How many first tokens two samples have in common, without the last token of the other: each sample has one of its own."""
    n = min(len(one.ids), len(other.ids) - 1)
    different = np.flatnonzero(one.ids[:n] != other.ids[:n])
    return int(different[0]) if len(different) else n


def _as_given(samples: Sequence[Sample]) -> tuple[list[int], list[int]]:
    return list(range(len(samples))), [0] * len(samples)


def _by_beginning(samples: Sequence[Sample]) -> tuple[list[int], list[int]]:
    """An order of samples in which each shares as many first tokens as it can with the one before it, and how many; the order as given and
    zeros where that is less than LEAST_SHARED of all tokens."""
    order = sorted(range(len(samples)), key=lambda i: samples[i].ids.tobytes())
    starts = [0, *(_shared_tokens(samples[i], samples[j]) for i, j in pairwise(order))]
    worthwhile = sum(starts) >= LEAST_SHARED * sum(len(sample.ids) for sample in samples)
    return (order, starts) if worthwhile else _as_given(samples)


def micro_batches(examples: Sequence[E], token_budget: int, *, packed: bool = False, shared: bool = False) -> Iterator[list[E]]:
    """Examples sorted by length, cut into batches of at most token_budget tokens, with padding where they are not packed (a longer example
    comes alone). shared: as in `collate`; examples are then sorted by their tokens, and shared tokens count once."""
    shared = packed and shared and any(_by_beginning(samples_of(examples))[1])
    batch: list[E] = []
    size = tokens = 0
    for example in sorted(examples, key=_beginning if shared else _length):
        samples = samples_of([example])
        alone = sum(len(sample.ids) for sample in samples)
        neighbours = pairwise([*samples_of(batch[-1:]), *samples]) if shared else ()
        size += len(samples)
        tokens += alone - sum(_shared_tokens(*pair) for pair in neighbours)
        if batch and (tokens if packed else _length(example) * size) > token_budget:
            yield batch
            batch, size, tokens = [], len(samples), alone
        batch.append(example)
    if batch:
        yield batch


def _beginning(example: Example) -> bytes:
    return samples_of([example])[0].ids.tobytes()


def _length(example: Example) -> int:
    return max(len(sample.ids) for sample in samples_of([example]))


def minibatches(examples: Sequence[E], size: int, seed: int) -> list[list[E]]:
    """Examples in an order that the seed draws, in parts of `size`; a last part of less than half joins the one before."""
    order = random.Random(seed).sample(range(len(examples)), k=len(examples))
    parts = [[examples[i] for i in order[start : start + size]] for start in range(0, len(order), size)]
    if len(parts) > 1 and len(parts[-1]) * 2 < size:
        last = parts.pop()
        parts[-1] += last
    return parts
