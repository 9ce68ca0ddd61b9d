"""Log-likelihoods of answers to questions, every beginning that answers or questions share computed once.

Sequences (question and answer) are sorted by their ids, so that each shares its longest beginning with the
one before it. Of a batch only the tokens beyond that beginning go through the model, packed one behind the
other; attention lets them look back along their own sequence. What lm-eval computes in one row per answer is
thus computed in one row per question. Letters: T = packed tokens, n = sequences, W = the most new tokens of a
sequence, L = the longest sequence, H = key-value heads, G = query heads per key-value head, D = head size, V
= vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.agents.engine.attention import PackedModel, attention
from sparring.agents.models.fidelity import no_numbers
from sparring.agents.models.language_model import LanguageModel

TOKENS_PER_BATCH = 1024
LOGITS_PER_BATCH = 2**24
"""Logits that exist at once: 64 MiB in float32."""
ROWS_PER_SUM = 64
"""Rows of logits that are normalised at once: the exponentials need as much memory as the logits."""

Progress = Callable[[int], object]
"""Called with how many answers have been scored since the last call."""


class Continuation(NamedTuple):
    """An answer to be scored: ids of what it follows (at least one) and its own ids (at least one)."""

    context: tuple[int, ...]
    ids: tuple[int, ...]

    @property
    def length(self) -> int:
        """How many tokens go through the model: all but the last."""
        return len(self.context) + len(self.ids) - 1


class _Sequence(NamedTuple):
    """A continuation in a batch. number: its own; shared: tokens that it has in common with the sequence
    before it; path: places [length] of its tokens among the packed ones."""

    number: int
    shared: int
    path: NDArray[np.int64]


class _Batch(NamedTuple):
    """ids, positions: [T] of the packed tokens. sequences: what they belong to."""

    ids: list[int]
    positions: list[int]
    sequences: list[_Sequence]


def log_likelihoods(model: LanguageModel, asked: Sequence[Continuation], progress: Progress | None = None) -> NDArray[np.float64]:
    """The log-probability of each answer, the sum over its tokens of a softmax in float32. Shape
    [len(asked)].

    Raises ValueError for an answer that does not fit into the model's context, and where probabilities are no
    numbers.
    """
    longest = max((one.length for one in asked), default=0)
    if longest > model.loop.max_length:
        raise ValueError(f"a question with an answer has {longest} tokens, but {model.name} reads {model.loop.max_length}")
    packed = _exact(model)
    scores = np.zeros(len(asked))
    vocabulary = model.model.get_input_embeddings().weight.shape[0]
    for batch in _batches(asked, TOKENS_PER_BATCH, max(1, LOGITS_PER_BATCH // vocabulary)):
        for sequence, score in zip(batch.sequences, _scored(packed, model.adapter, batch, asked), strict=True):
            scores[sequence.number] = score
        if progress is not None:
            progress(len(batch.sequences))
    if np.isnan(scores).any():
        raise ValueError(no_numbers(model.name))
    return scores


def _batches(asked: Sequence[Continuation], tokens: int, kept: int) -> Iterator[_Batch]:
    """Batches of at most so many new tokens and places whose logits are needed; a longer sequence comes
    alone."""
    whole = [(*one.context, *one.ids) for one in asked]
    before: tuple[int, ...] = ()
    batch, answered = _Batch([], [], []), 0
    for index in sorted(range(len(asked)), key=whole.__getitem__):
        ids, length, answer = whole[index], asked[index].length, len(asked[index].ids)
        shared = _shared(ids[:length], before) if batch.sequences else 0
        if batch.sequences and (len(batch.ids) + length - shared > tokens or answered + answer > kept):
            yield batch
            batch, shared, answered = _Batch([], [], []), 0, 0
        new = np.arange(len(batch.ids), len(batch.ids) + length - shared)
        path = np.concatenate([batch.sequences[-1].path[:shared], new]) if shared else new
        batch.ids.extend(ids[shared:length])
        batch.positions.extend(range(shared, length))
        batch.sequences.append(_Sequence(index, shared, path))
        before, answered = ids[:length], answered + answer
    if batch.sequences:
        yield batch


def _shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many ids two sequences begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _exact(model: LanguageModel) -> PackedModel:
    """The model on packed tokens, in its own precision: play on a CPU may round products to bfloat16."""
    packed = model.loop.packed
    return packed if packed.products == next(model.model.parameters()).dtype else PackedModel(model.model)


def _scored(packed: PackedModel, adapter: str | None, batch: _Batch, asked: Sequence[Continuation]) -> list[float]:
    """The log-likelihoods of a batch's answers, in its order."""
    device = packed.device
    answers = [asked[sequence.number] for sequence in batch.sequences]
    places = [sequence.path[len(one.context) - 1 :] for sequence, one in zip(batch.sequences, answers, strict=True)]
    kept, rows = np.unique(np.concatenate(places), return_inverse=True)
    targets = torch.tensor([i for one in answers for i in one.ids], device=device)
    adapters = {adapter: torch.arange(len(batch.ids), device=device)} if adapter else {}
    with torch.inference_mode():
        logits = packed.forward(
            torch.tensor(batch.ids, device=device),
            torch.tensor(batch.positions, device=device),
            torch.from_numpy(kept).to(device),
            _parts(batch, device),
            adapters,
        )
        norms = torch.cat([part.float().logsumexp(-1) for part in logits.split(ROWS_PER_SUM)])
        at = torch.from_numpy(rows).to(device)
        values = (logits[at, targets].float() - norms[at]).double().cpu().numpy()
    ends = np.cumsum([len(one.ids) for one in answers])
    return [float(part.sum()) for part in np.split(values, ends[:-1])]


def _parts(batch: _Batch, device: torch.device) -> list["_Lookback"]:
    """Attention of a batch, by how many new tokens sequences have: few together and many together, for
    little padding."""
    sizes: dict[int, list[_Sequence]] = {}
    for sequence in batch.sequences:
        new = len(sequence.path) - sequence.shared
        if new:
            sizes.setdefault(new.bit_length() // 2, []).append(sequence)
    return [_Lookback(sequences, len(batch.ids), device) for sequences in sizes.values()]


class _Lookback:
    """What attention does for the new tokens of some sequences: each sees its own sequence up to itself.
    stop: packed tokens in all."""

    def __init__(self, sequences: Sequence[_Sequence], stop: int, device: torch.device) -> None:
        self.stop = stop
        width = max(len(s.path) - s.shared for s in sequences)
        length = max(len(s.path) for s in sequences)
        # Padding repeats a sequence's first token: as a key it is hidden by its position, as a query it is dropped.
        keys = np.stack([np.pad(s.path, (0, length - len(s.path)), mode="edge") for s in sequences])
        at = np.stack([np.minimum(np.arange(s.shared, s.shared + width), len(s.path) - 1) for s in sequences])
        real = np.stack([np.arange(width) < len(s.path) - s.shared for s in sequences])
        self._keys = torch.from_numpy(keys).to(device)
        self._at = torch.from_numpy(at).to(device)
        self._queries = self._keys.gather(1, self._at)
        self._real = torch.from_numpy(np.flatnonzero(real)).to(device)
        self._masks: dict[int | None, Tensor] = {}

    def mask(self, window: int | None, dtype: torch.dtype, groups: int) -> Tensor:
        """[n, 1, G * W, L], 0 where a token attends and -inf elsewhere."""
        if window not in self._masks:
            places = torch.arange(self._keys.shape[1], device=self._keys.device)
            hidden = places > self._at[:, None, :, None]
            if window:
                hidden |= places <= self._at[:, None, :, None] - window
            additive = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, -torch.inf)
            self._masks[window] = additive.repeat(1, 1, groups, 1)
        return self._masks[window]

    def attend(self, slot: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor, window: int | None, **extra: Any) -> None:
        """q [T, Hq, D], k and v [T, H, D]; writes out [T, Hq, D] at its own tokens."""
        n, width = self._queries.shape
        heads, groups = k.shape[1], q.shape[1] // k.shape[1]
        keys, values = (x[self._keys].transpose(1, 2) for x in (k, v))
        query = q[self._queries].view(n, width, heads, groups, -1).permute(0, 2, 3, 1, 4).reshape(n, heads, groups * width, -1)
        answer = attention(query, keys, values, self.mask(window, q.dtype, groups), **extra)
        answer = answer.view(n, heads, groups, width, -1).permute(0, 3, 1, 2, 4).reshape(n * width, q.shape[1], -1)
        out[self._queries.flatten()[self._real]] = answer[self._real]
