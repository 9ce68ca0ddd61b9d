"""Compares the generation loop with a plain forward pass of transformers.

The loop passes its own positions and attention to a model. A model that keeps part of its rule elsewhere (in
a mask, in its own positions) would silently be run as a different model, so every model is compared at load.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import Sampling
from ..engine.attention import SERVED
from ..engine.loop import Counters, HFLoop

WINDOW = 16
"""Length of sliding windows, in positions, during the comparison, so that short sequences reach beyond them.
"""
LENGTHS = (41, 18, 27, 9, 33)
"""Tokens of the compared sequences."""
REPLY = 3
"""Tokens per reply; each sequence gets two replies, with one more token between them."""
NATS = 1e-3
"""Largest allowed difference of log-probabilities, in nats, for float32 weights."""
ROUNDED_NATS = 0.1
"""Largest allowed mean difference, in nats, for weights in half precision."""


@contextmanager
def short_windows(model: Any) -> Iterator[None]:
    """Context in which a model's sliding windows are at most WINDOW positions long."""
    holders = [holder for module in model.modules() for holder in (module, getattr(module, "config", None)) if holder is not None]
    wide = {id(holder): holder for holder in holders if _window(holder) > WINDOW}
    before = [(holder, holder.sliding_window) for holder in wide.values()]
    try:
        for holder, _ in before:
            holder.sliding_window = WINDOW
        yield
    finally:
        for holder, window in before:
            holder.sliding_window = window


def _window(holder: Any) -> int:
    window = vars(holder).get("sliding_window")
    return window if isinstance(window, int) else 0


def sample_rows(model: Any, lengths: tuple[int, ...], seed: int = 0) -> list[list[int]]:
    """Pseudo-random token ids of sequences of these lengths."""
    vocabulary = min(model.get_input_embeddings().weight.shape[0], model.config.get_text_config().vocab_size)
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in lengths]


def plain_logprobs(model: Any, ids: list[int]) -> Tensor:
    """Log-probabilities [n - 1, V] float32 of the next token after each id but the last, by a plain forward
    pass of transformers."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        logits: Tensor = model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, :-1]
    return logits.float().log_softmax(-1)


def far(difference: Tensor, dtype: torch.dtype) -> bool:
    """Whether differences of log-probabilities exceed rounding. NaN counts as a difference."""
    if not len(difference):
        return False
    return not (difference.max() <= NATS if dtype == torch.float32 else difference.mean() <= ROUNDED_NATS)


def require_faithful(loop: HFLoop, name: str) -> None:
    """Raises ValueError where a loop's log-probabilities differ from its model's, or are NaN. The loop's
    state is restored."""
    for seed in range(2):
        difference = loop_difference(loop, seed)
        # NOTE: where two experts are nearly tied, rounding may choose the other one; it does not do so for
        # two sets of rows.
        if not far(difference, loop.packed.products):
            return
    if not difference.isfinite().all():
        raise ValueError(no_numbers(name))
    raise ValueError(
        f"{name}: {type(loop.packed.model).__name__} would be played as another model: its log-probabilities are up to "
        f"{float(difference.max()):.2g} nats off those of a plain pass of transformers; {SERVED}"
    )


def no_numbers(name: str) -> str:
    """The error message for a model whose probabilities are NaN."""
    return f"{name}: its probabilities are no numbers (NaN): the weights are damaged, perhaps by too high a learning rate"


def loop_difference(loop: HFLoop, seed: int = 0) -> Tensor:
    """Differences [tokens], in nats, between a loop's log-probabilities of sampled tokens and those of plain
    forward passes: sequences of several lengths with a common prefix, two replies each. The loop's state is
    restored."""
    packed = loop.packed
    model = packed.model
    longest = loop.max_length - 2 * REPLY - 1
    rows = sample_rows(model, tuple(n for n in LENGTHS if n <= longest), seed)
    for row in rows[1:]:
        row[: len(row) // 2] = rows[0][: len(row) // 2]
    sampling = Sampling(temperature=1.0, max_new_tokens=REPLY)
    replies: list[tuple[str, int, NDArray[np.float32]]] = []
    differences: list[float] = []
    compiled, packed._compiled = packed._compiled, None
    try:
        with short_windows(model):
            for turn in range(2):
                for number, row in enumerate(rows):
                    loop.submit(f"compared {number}", row if not turn else row[:1], sampling, 1000 * seed + 2 * number + turn)
                while len(replies) < (turn + 1) * len(rows):
                    replies += [(done.stream, len(loop.ids(done.stream)), done.logprobs) for done in loop.poll()]
            whole = {stream: (loop.ids(stream), plain_logprobs(model, loop.ids(stream)).cpu()) for stream, _, _ in replies[: len(rows)]}
        for stream, end, logprobs in replies:
            ids, wanted = whole[stream]
            at = torch.arange(end - len(logprobs), end)
            differences += (torch.from_numpy(logprobs) - wanted[at - 1, torch.tensor(ids)[at]]).abs().tolist()
    finally:
        packed._compiled = compiled
        for number in range(len(rows)):
            loop.close(f"compared {number}")
        loop.invalidate()
        loop.counters = Counters()
    return torch.tensor(differences)
