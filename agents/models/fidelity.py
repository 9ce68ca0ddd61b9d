"""Whether a model is played as the model it is: the generation loop beside a plain pass of transformers.

The loop hands a model positions and an attention of its own. A model that keeps part of its rule elsewhere
(in a mask, in positions of its own) would be played as another model without a word, so every model is
compared when it is loaded.
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
"""Positions that a sliding window is shortened to while models are compared, so that short rows reach beyond
it."""
LENGTHS = (41, 18, 27, 9, 33)
"""Tokens of the rows that are compared."""
REPLY = 3
"""Tokens in a reply; each row gets two, with one more token between them."""
NATS = 1e-3
"""How far log-probabilities of float32 weights may be apart."""
ROUNDED_NATS = 0.1
"""How far they may be apart on average where weights are rounded to half precision."""


@contextmanager
def short_windows(model: Any) -> Iterator[None]:
    """Inside, a model's sliding windows are WINDOW positions long at most."""
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
    """Token ids of rows of these lengths that look like nothing in particular."""
    vocabulary = min(model.get_input_embeddings().weight.shape[0], model.config.get_text_config().vocab_size)
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in lengths]


def plain_logprobs(model: Any, ids: list[int]) -> Tensor:
    """Log-probabilities [n - 1, V] float32 of what follows each id but the last, by the model alone, as
    transformers runs it."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        logits: Tensor = model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, :-1]
    return logits.float().log_softmax(-1)


def far(difference: Tensor, dtype: torch.dtype) -> bool:
    """Whether differences of log-probabilities are more than rounding. What is no number is far from all."""
    if not len(difference):
        return False
    return not (difference.max() <= NATS if dtype == torch.float32 else difference.mean() <= ROUNDED_NATS)


def require_faithful(loop: HFLoop, name: str) -> None:
    """Raises ValueError where a loop's log-probabilities are not those of its model, and where they are no
    numbers. The loop is left as if it had done nothing."""
    for seed in range(2):
        difference = loop_difference(loop, seed)
        # NOTE: where two experts are nearly tied, rounding may choose the other one; it does not do so for two sets of rows.
        if not far(difference, loop.packed.products):
            return
    if not difference.isfinite().all():
        raise ValueError(no_numbers(name))
    raise ValueError(
        f"{name}: {type(loop.packed.model).__name__} would be played as another model: its log-probabilities are up to "
        f"{float(difference.max()):.2g} nats off those of a plain pass of transformers; {SERVED}"
    )


def no_numbers(name: str) -> str:
    """What is wrong with a model whose probabilities are NaN."""
    return f"{name}: its probabilities are no numbers (NaN): the weights are damaged, perhaps by too high a learning rate"


def loop_difference(loop: HFLoop, seed: int = 0) -> Tensor:
    """How far a loop's log-probabilities of what it samples are from those of plain passes, in nats [tokens]:
    rows of several lengths, with a beginning in common, two replies each. The loop is left as if it had done
    nothing."""
    packed = loop.packed
    model = packed.model
    longest = loop.max_length - 2 * REPLY - 1
    rows = sample_rows(model, tuple(n for n in LENGTHS if n <= longest), seed)
    for row in rows[1:]:
        row[: len(row) // 2] = rows[0][: len(row) // 2]
    sampling = Sampling(temperature=1.0, max_new_tokens=REPLY)
    said: list[tuple[str, int, NDArray[np.float32]]] = []
    differences: list[float] = []
    compiled, packed._compiled = packed._compiled, None
    try:
        with short_windows(model):
            for turn in range(2):
                for number, row in enumerate(rows):
                    loop.submit(f"compared {number}", row if not turn else row[:1], sampling, 1000 * seed + 2 * number + turn)
                while len(said) < (turn + 1) * len(rows):
                    said += [(done.stream, len(loop.ids(done.stream)), done.logprobs) for done in loop.poll()]
            whole = {stream: (loop.ids(stream), plain_logprobs(model, loop.ids(stream)).cpu()) for stream, _, _ in said[: len(rows)]}
        for stream, end, found in said:
            ids, wanted = whole[stream]
            at = torch.arange(end - len(found), end)
            differences += (torch.from_numpy(found) - wanted[at - 1, torch.tensor(ids)[at]]).abs().tolist()
    finally:
        packed._compiled = compiled
        for number in range(len(rows)):
            loop.close(f"compared {number}")
        loop.invalidate()
        loop.counters = Counters()
    return torch.tensor(differences)
