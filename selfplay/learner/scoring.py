"""From a batch of samples to the log-probabilities of its actions, for any causal model of transformers.

The model's head runs at the actions alone, in chunks: with a vocabulary of 150,000 the logits of one batch would be larger than everything
else. A chunk's logits are dropped once its numbers are taken and computed again in the backward pass. Knows no losses.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sparring.agents.models.fidelity import LENGTHS, far, plain_logprobs, sample_rows, short_windows
from sparring.agents.models.language_model import LanguageModel

from ..runtime.distributed import Ranks
from .batch import Example, Pair, Sample, TokenBatch, collate, micro_batches, samples_of, sft_sample
from .losses import entropy, exact_kl, token_logprobs
from .packing import attending, can_pack, can_share
from .patching import swapped

CHUNK = 2**24
"""Logits that exist at once: 64 MiB in float32, and a few times that with their gradients. A batch of a vocabulary of a few thousand goes
through in one piece."""


class Scores(NamedTuple):
    """Of each action [A]: logprobs of the tokens that were chosen; entropy of the distribution they were chosen from, without a gradient;
    kl, the exact KL(model || reference). What was not asked for is None."""

    logprobs: Tensor
    entropy: Tensor | None
    kl: Tensor | None


class Scorer:
    """Scores batches with one model, and knows what that model allows.

    model: a causal model of transformers, wrapped or not. packs: whether its samples can lie in one sequence; shares: whether that can hold
    equal beginnings once; None finds out. chunk: logits that exist at once. context: entered around every pass through the model.
    """

    def __init__(
        self,
        model: Any,
        *,
        packs: bool | None = None,
        shares: bool | None = None,
        chunk: int = CHUNK,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.model = model
        self.context = context
        inner = self.unwrapped
        self.vocabulary = int(inner.config.get_text_config().vocab_size)
        self.chunk = max(1, chunk // self.vocabulary)
        with context(), torch.autocast("cpu", enabled=False):
            self.packs = can_pack(inner) if packs is None else packs
            self.shares = self.packs and (can_share(inner) if shares is None else shares)
            self.cuts = _can_cut(inner)

    @property
    def unwrapped(self) -> Any:
        return getattr(self.model, "module", self.model)

    def attending(self, batch: TokenBatch) -> AbstractContextManager[None]:
        """Has to be entered around the passes of a packed batch, backward ones too."""
        return nullcontext() if batch.positions is None else attending(self.unwrapped, batch.lengths, batch.starts)

    def score(self, batch: TokenBatch, *, entropies: bool = False, reference: "Scorer | None" = None) -> Scores:
        """Scores of a batch's actions; of a reference model the exact KL to it. Inside `attending`."""
        inner = self.unwrapped
        forward = inner.forward
        reference_forward = None if reference is None else reference.unwrapped.forward

        def whole() -> Scores:
            compared = None
            if reference is not None and reference_forward is not None:
                with torch.no_grad(), reference.attending(batch):
                    compared = reference._reading(batch, reference_forward)
            read = self._reading(batch, forward)
            found = [self._part(read, compared, batch, part, entropies) for part in self._parts(batch)]
            logprobs, spread, kl = (None if column[0] is None else torch.cat(column) for column in zip(*found, strict=True))
            assert logprobs is not None
            return Scores(logprobs, spread, kl)

        # The whole computation is made the model's forward, so that what wraps the model sees it as one pass, chunks included.
        with swapped(inner, whole):
            scores: Scores = self.model()
        return scores

    def _parts(self, batch: TokenBatch) -> list[slice]:
        actions = len(batch.targets)
        size = self.chunk if self.cuts else max(actions, 1)
        return [slice(start, start + size) for start in range(0, max(actions, 1), size)]

    def _part(self, read: "Reading", reference: "Reading | None", batch: TokenBatch, part: slice, entropies: bool) -> Scores:
        def scores() -> Scores:
            logprobs, whole = token_logprobs(read(part), batch.targets[part], batch.temperature[part])
            kl = None
            if reference is not None:
                with torch.no_grad():
                    other = token_logprobs(reference(part), batch.targets[part], batch.temperature[part])[1]
                kl = exact_kl(whole, other)
            return Scores(logprobs, entropy(whole.detach()) if entropies else None, kl)

        if torch.is_grad_enabled() and len(batch.targets) > self.chunk and self.cuts:
            again: Scores = checkpoint(scores, use_reentrant=False, preserve_rng_state=False)
            return again
        return scores()

    def _reading(self, batch: TokenBatch, forward: Callable[..., Any]) -> "Reading":
        """Runs the model up to its head; what comes back are the logits [c, V] of a part of the actions, computed when asked for."""
        inputs: dict[str, Any] = {"input_ids": batch.ids, "use_cache": False}
        if batch.positions is not None:
            inputs["position_ids"] = batch.positions
        # Padding is on the right, where causal attention never looks: no mask is needed, and without one the fast kernels are used.
        inner = self.unwrapped
        with self.context():
            if not self.cuts:
                with _exact_head(inner):
                    logits = forward(**inputs).logits.flatten(0, 1)[batch.logit_index]
                return lambda part: logits[part]
            output, states = _states(inner, forward, inputs)
        states = states.flatten(0, 1)[batch.logit_index]

        def headed(part: slice) -> Tensor:
            with self.context():
                return _headed(inner, forward, output, states[part])

        return headed


def language_model_scorer(model: LanguageModel) -> Scorer:
    """Scores with a model as it plays: through its adapter, and with products rounded as its learner rounds them."""

    @contextmanager
    def context() -> Iterator[None]:
        rounded = model.products == torch.bfloat16 and model.model.device.type == "cpu"
        with model.active_adapter(), torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            yield

    return Scorer(model.model, context=context)


Reading = Callable[[slice], Tensor]


def with_behaviour(examples: Sequence[Example]) -> list[Example] | None:
    """The same samples with the policy that was sampled from as their reference, which takes no pass; None where that is not known of all
    of them, or for pairs."""
    if not _sampled(examples):
        return None
    return [replace(e, reference_logprobs=e.sampler_logprobs if e.old_logprobs is None else e.old_logprobs) for e in samples_of(examples)]


def with_old_logprobs(scorer: Scorer, examples: Sequence[Example], token_budget: int, *, ranks: Ranks | None = None) -> list[Example]:
    """The same samples with the log-probabilities that the learner's model gives them now; as they are where they were not sampled."""
    if not _sampled(examples):
        return list(examples)
    samples = samples_of(examples)
    scored = action_logprobs(scorer, samples, token_budget, ranks=ranks)
    return [replace(sample, old_logprobs=values) for sample, values in zip(samples, scored, strict=True)]


def _sampled(examples: Sequence[Example]) -> bool:
    return all(isinstance(e, Sample) and e.sampler_logprobs is not None for e in examples)


def with_reference(scorer: Scorer, examples: Sequence[Example], token_budget: int, *, ranks: Ranks | None = None) -> list[Example]:
    """The same examples with the log-probabilities that a reference policy gives their actions (`action_logprobs`)."""
    samples = samples_of(examples)
    scored = action_logprobs(scorer, samples, token_budget, ranks=ranks)
    new = (replace(sample, reference_logprobs=values) for sample, values in zip(samples, scored, strict=True))
    return [replace(e, chosen=next(new), rejected=next(new)) if isinstance(e, Pair) else next(new) for e in examples]


def action_logprobs(
    scorer: Scorer,
    samples: Sequence[Sample],
    token_budget: int,
    *,
    ranks: Ranks | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[NDArray[np.float32]]:
    """Per sample the log-probabilities [n] that a model gives its actions at the sample's temperature, 0 elsewhere.

    ranks: each process scores its share, and all get the same; the model must be unsharded, as no collective runs inside. progress: called
    with the number of samples of each batch that has been scored.
    """
    ranks = ranks or Ranks()
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].ids))
    share = [samples[i] for i in order[ranks.rank :: ranks.size]]
    device = next(scorer.unwrapped.parameters()).device
    logprobs: dict[int, NDArray[np.float32]] = {}
    for part in micro_batches(share, token_budget, packed=scorer.packs, shared=scorer.shares):
        batch = collate(part, packed=scorer.packs, shared=scorer.shares).to(device)
        with torch.no_grad(), scorer.attending(batch):
            values = scorer.score(batch).logprobs.float().cpu().split([sample.trained_tokens for sample in part])
        logprobs |= {id(sample): of_sample.numpy() for sample, of_sample in zip(part, values, strict=True)}
        if progress is not None:
            progress(len(part))
    scored: dict[int, NDArray[np.float32]] = {}
    for rank, of_rank in enumerate(ranks.gather([logprobs[id(sample)] for sample in share])):
        for i, of_sample in zip(order[rank :: ranks.size], of_rank, strict=True):
            scored[i] = np.zeros(len(samples[i].ids), np.float32)
            scored[i][samples[i].loss_mask] = of_sample
    return [scored[i] for i in range(len(samples))]


def require_faithful(scorer: Scorer, name: str) -> None:
    """Raises ValueError where a learner would train another model than transformers runs."""
    for seed in range(2):
        difference = scoring_difference(scorer, seed)
        # NOTE: as in the generation loop's comparison, nearly tied experts may go either way once.
        if not far(difference, next(scorer.unwrapped.parameters()).dtype):
            return
    raise ValueError(
        f"{name}: {type(scorer.unwrapped).__name__} would be trained as another model: its log-probabilities in a batch are up to "
        f"{float(difference.max()):.2g} nats off those of a plain pass of transformers; it cannot be trained here"
    )


def scoring_difference(scorer: Scorer, seed: int = 0) -> Tensor:
    """How far the log-probabilities of a batch of samples of several lengths are from those of plain passes, in nats [tokens]."""
    model = scorer.unwrapped
    device = next(model.parameters()).device
    ids = sample_rows(model, LENGTHS[:3], seed)
    samples = [sft_sample(sample, [False] + [True] * (len(sample) - 1)) for sample in ids]
    batch = collate(samples, packed=scorer.packs).to(device)
    with torch.no_grad(), short_windows(model):
        with scorer.attending(batch):
            scored = scorer.score(batch).logprobs
        plain = [plain_logprobs(model, sample).gather(1, torch.tensor(sample[1:], device=device)[:, None])[:, 0] for sample in ids]
    return (scored.float() - torch.cat(plain)).abs().cpu()


def _states(model: Any, forward: Callable[..., Any], inputs: dict[str, Any]) -> tuple[Any, Tensor]:
    """What the model's body gives for inputs, and its last hidden states [B, L, D]. The head runs at one place of them only."""
    seen: list[Any] = []

    def cut(_module: Any, _args: Any, output: Any) -> Any:
        seen.append(output)
        return _with_states(output, output[0][:1, :1])

    handle = model.base_model.register_forward_hook(cut)
    try:
        forward(**inputs)
    finally:
        handle.remove()
    return seen[0], seen[0][0]


def _headed(model: Any, forward: Callable[..., Any], output: Any, states: Tensor) -> Tensor:
    """The logits [c, V] of hidden states [c, D]: the model's own forward without its body, so that what it does to states before its head
    and to logits after it (scaling, soft-capping) is done here too."""
    shown = _with_states(output, states[None])
    with swapped(model.base_model, lambda *args, **kwargs: shown), _exact_head(model):
        logits: Tensor = forward(input_ids=states.new_zeros(1, len(states), dtype=torch.int64), use_cache=False).logits[0]
    return logits


@contextmanager
def _exact_head(model: Any) -> Iterator[None]:
    """Inside, a head on a CPU computes in float32 under autocast too: logits in bfloat16 are off by up to 0.06."""
    head = model.get_output_embeddings()
    if head is None or head.weight.device.type != "cpu" or head.weight.dtype != torch.float32:
        yield
        return
    forward = head.forward

    def exact(states: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            logits: Tensor = forward(states.float())
        return logits

    with swapped(head, exact):
        yield


def _with_states(output: Any, states: Tensor) -> Any:
    if isinstance(output, tuple):
        return (states, *output[1:])
    return type(output)(**{**output, "last_hidden_state": states})


def _can_cut(model: Any) -> bool:
    """Whether the model is a body and a head that can be run apart, found out by trying."""
    if model.base_model is model:
        return False
    device = next(model.parameters()).device
    inputs = {"input_ids": torch.arange(6, device=device)[None] % model.config.get_text_config().vocab_size, "use_cache": False}
    with torch.no_grad():
        expected = model.forward(**inputs).logits[0]
        try:
            output, states = _states(model, model.forward, inputs)
            found = _headed(model, model.forward, output, states[0])
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, KeyError):
            return False
    return found.shape == expected.shape and bool(torch.allclose(found, expected, rtol=1e-2, atol=1e-4))
