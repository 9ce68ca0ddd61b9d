"""One forward pass over many streams at once, for any Hugging Face causal model that takes its attention from the attention interface.

All new tokens of all rows go through the model as one packed sequence [1, T], so that the matrix products are dense, without padding. Only
attention sees rows: while a `Plan` is active, the function registered here writes the new keys and values into the rows' caches and lets
each token attend to its own row. Letters: T = packed tokens, n = rows, H = key-value heads, G = query heads per key-value head, D = head
size, L = positions of a cache, W = widest row of a prefill.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..models.adapter_folders import Places, lora_layers, per_token
from ..models.memory import out_of_memory
from ..text import one_line
from . import kernels
from .body import Body
from .fused_layers import HalfProducts, fused_layers, replaced
from .kv_cache import BLOCK, BUCKET, Layout

NAME = "sparring_rows"
"""This attention's name in the attention interface. No mask function bears it, so that models build no masks of their own.
"""


SERVED = "run it behind a server, as openai:MODEL@URL or vllm:FOLDER@URL"
"""What can be done with a model that cannot be played here."""

_FEW = 64
"""Up to so many queries per row and head, a CPU multiplies matrices rather than call torch's fused kernel."""
_WIDE = 1024
"""Up to so many queries per row and head attend at once: masks and scores of longer prompts would take the square of their length."""


class Decode:
    """n rows that each add one token: packed tokens [start, start + n) to row i of data [X, >= n, H, L, D] at positions [n]."""

    def __init__(self, start: int, data: Tensor, positions: Tensor) -> None:
        self.start, self.stop = start, start + len(positions)
        self.data = data
        self.positions = positions
        self.rows = len(positions)
        self._masks: dict[tuple[int | None, torch.dtype], Tensor] = {}

    @cached_property
    def _cells(self) -> Tensor:
        return _cells(torch.arange(self.rows, device=self.positions.device), self.positions, self.data)

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """[n, 1, 1, L], 0 where a token attends and -inf elsewhere."""
        if (window, dtype) not in self._masks:
            places = torch.arange(self.data.shape[3], device=self.positions.device)
            self._masks[window, dtype] = _additive(places, self.positions[:, None, None, None], window, dtype)
        return self._masks[window, dtype]

    def attend(self, slot: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor, window: int | None, **extra: Any) -> None:
        """q [T, Hq, D], k and v [T, H, D]; writes out [T, Hq, D] at its own tokens."""
        span, n = slice(self.start, self.stop), self.rows
        keys, values = self.data[2 * slot], self.data[2 * slot + 1]
        _write(keys, self._cells, k[span])
        _write(values, self._cells, v[span])
        heads = keys.shape[1]
        query = q[span].reshape(n, heads, -1, q.shape[-1])
        answer = attention(query, keys[:n], values[:n], self.mask(window, q.dtype), **extra)
        out[span] = answer.reshape(n, q.shape[1], -1)


class Prefill:
    """n rows that each add several tokens: `counts[i]` packed tokens, one row after the other, at positions firsts[i] on.

    data: [X, n, H, L, D], with what the rows have cached before. last: packed places of each row's last token.
    """

    def __init__(self, start: int, data: Tensor, firsts: Sequence[int], counts: Sequence[int]) -> None:
        device = data.device
        self.start, self.stop = start, start + sum(counts)
        self.data = data
        self._counts = torch.tensor(counts, device=device)
        self._begin = torch.cumsum(self._counts, 0) - self._counts
        steps = torch.arange(max(counts), device=device)
        self._flat = (steps < self._counts[:, None]).flatten().nonzero()[:, 0]
        self._at = torch.tensor(firsts, device=device)[:, None] + steps
        self.last = self.start + self._begin + self._counts - 1
        self.positions = self._at.flatten()[self._flat]
        self._masks: dict[tuple[int | None, torch.dtype, int], Tensor] = {}

    @cached_property
    def _pad(self) -> Tensor:
        steps = torch.arange(self._at.shape[1], device=self.data.device)
        return (self._begin[:, None] + steps).clamp_(max=self.stop - self.start - 1)

    @cached_property
    def _cells(self) -> Tensor:
        rows = torch.arange(len(self._counts), device=self.data.device)[:, None].expand_as(self._at).flatten()[self._flat]
        return _cells(rows, self.positions, self.data)

    def mask(self, window: int | None, dtype: torch.dtype, groups: int, steps: slice) -> Tensor:
        """[n, 1, G * W, L] of the queries of some steps, 0 where a token attends and -inf elsewhere. Kept for other layers where it is
        that of all.
        """
        key = (window, dtype, groups)
        if key in self._masks:
            return self._masks[key]
        places = torch.arange(self.data.shape[3], device=self.data.device)
        mask = _additive(places, self._at[:, None, steps, None], window, dtype).repeat(1, 1, groups, 1)
        if mask.shape[2] == groups * self._at.shape[1]:
            self._masks[key] = mask
        return mask

    def attend(self, slot: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor, window: int | None, **extra: Any) -> None:
        """q [T, Hq, D], k and v [T, H, D]; writes out [T, Hq, D] at its own tokens."""
        span = slice(self.start, self.stop)
        keys, values = self.data[2 * slot], self.data[2 * slot + 1]
        _write(keys, self._cells, k[span])
        _write(values, self._cells, v[span])
        heads, groups = keys.shape[1], q.shape[1] // keys.shape[1]
        n, width = self._pad.shape
        answers = []
        for first in range(0, width, _WIDE):
            steps = slice(first, first + _WIDE)
            some = self._pad[:, steps]
            padded = q[span].index_select(0, some.flatten()).view(*some.shape, heads, groups, -1)
            query = padded.permute(0, 2, 3, 1, 4).reshape(n, heads, groups * some.shape[1], -1)
            answer = attention(query, keys, values, self.mask(window, q.dtype, groups, steps), **extra)
            answers.append(answer.view(n, heads, groups, some.shape[1], -1).permute(0, 3, 1, 2, 4))
        whole = answers[0] if len(answers) == 1 else torch.cat(answers, dim=1)
        out[span] = whole.reshape(n * width, q.shape[1], -1).index_select(0, self._flat)


def _cells(rows: Tensor, positions: Tensor, data: Tensor) -> Tensor:
    """Where the heads of some positions of rows of data [X, n, H, L, D] are in one layer's keys, seen as [n * H * L, D]: [T * H]."""
    heads, length = data.shape[2], data.shape[3]
    places = torch.arange(heads, device=data.device) * length
    return ((rows * (heads * length) + positions)[:, None] + places).flatten()


def _write(cache: Tensor, cells: Tensor, new: Tensor) -> None:
    """Puts new [T, H, D] into cells of a layer's keys or values [n, H, L, D]."""
    size = cache.shape[-1]
    cache.view(-1, size).index_copy_(0, cells, new.reshape(-1, size))


class Blocks:
    """Rows whose keys and values are in blocks of a pool [blocks, X, H, BLOCK * D], for the compiled kernel: see kernels.attend for `rows`
    and `tables`. stop: how many tokens are packed.
    """

    def __init__(self, rows: Tensor, tables: Tensor, data: Tensor, stop: int) -> None:
        self.stop = stop
        self.rows, self.tables, self.data = rows, tables, data

    def attend(self, slot: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor, window: int | None, *, scale: float, **extra: Any) -> None:
        """q [T, Hq, D], k and v [T, H, D]; writes out [T, Hq, D] at its own tokens."""
        assert not any(value is not None for value in extra.values()), f"the kernel knows nothing of {extra}"
        kernels.attend(q, k, v, out, self.rows, self.tables, self.data, slot, window, scale)


class Part(Protocol):
    """What attention does for some of the packed tokens, the last of which is before `stop`."""

    @property
    def stop(self) -> int: ...

    def attend(
        self, slot: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor, window: int | None, *, scale: float, **extra: Any
    ) -> None: ...


class Plan:
    """What attention does in one forward pass: parts that each own some of the packed tokens. slots: cache slot by layer number."""

    def __init__(self, parts: Sequence[Part], slots: dict[int, int]) -> None:
        self.parts = parts
        self.slots = slots
        self.stop = max(part.stop for part in parts)


class _Probe:
    """Stands in for a plan once, to learn the shapes of keys and values by layer, how many query heads there are, whether the compiled
    kernel could do all of it, and which scales of scores and windows there are.
    """

    def __init__(self) -> None:
        self.shapes: dict[int, tuple[int, int, int]] = {}
        self.queries = 0
        self.plain = True
        self.scores: set[tuple[float, int | None]] = set()


_active: ContextVar[Plan | _Probe | None] = ContextVar("active plan", default=None)
"""The plan of the forward pass that this thread is in."""


def _additive(places: Tensor, positions: Tensor, window: int | None, dtype: torch.dtype) -> Tensor:
    hidden = places > positions
    if window:
        hidden |= places <= positions - window
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, -torch.inf)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    *,
    scale: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """q [n, H, M, D], k and v [n, H, L, D], mask broadcast to [n, H, M, L]; returns [n, H, M, D]."""
    if softcap is None and sinks is None:
        if q.device.type == "cpu" and q.shape[2] <= _FEW:
            return _few(q, k, v, mask, scale)
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    scores = q @ k.transpose(-1, -2) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores + mask
    if sinks is None:
        return torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype) @ v
    heads, queries = q.shape[1], q.shape[2]
    groups = len(sinks) // heads
    sink = sinks.view(1, heads, groups, 1, 1).expand(len(q), -1, -1, queries // groups, -1).reshape(len(q), heads, queries, 1)
    probs = torch.softmax(torch.cat([scores, sink.to(scores.dtype)], dim=-1), dim=-1, dtype=torch.float32)
    return probs[..., :-1].to(v.dtype) @ v


def _few(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of few queries per row as two batched matrix products: on a CPU twice as fast as the fused kernel for many."""
    n, heads, queries, size = q.shape
    scores = torch.baddbmm(
        mask.expand(n, heads, queries, -1).reshape(n * heads, queries, -1),
        q.reshape(n * heads, queries, size),
        k.reshape(n * heads, -1, size).transpose(1, 2),
        alpha=scale,
    )
    return torch.bmm(torch.softmax(scores, dim=-1), v.reshape(n * heads, -1, size)).view(n, heads, queries, size)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, layer: int, scale: float, softcap: float | None, window: int | None, sinks: Tensor | None
) -> Tensor:
    """Attention of one layer by the active plan: query [1, Hq, T, D], key and value [1, H, T, D]; returns [1, T, Hq, D]."""
    plan = _active.get()
    assert plan is not None, "the attention of packed rows runs only inside `forward`"
    out = _like_attended(query, key, value)
    if isinstance(plan, _Probe):
        plan.shapes[layer] = (key.shape[1], key.shape[-1], value.shape[-1])
        plan.queries = query.shape[1]
        plan.scores.add((scale, window))
        plan.plain &= softcap is None and sinks is None and kernels.can_attend(query, key, value)
        return out
    q, k, v = query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1)
    for part in plan.parts:
        part.attend(plan.slots[layer], q, k, v, out[0], window, scale=scale, softcap=softcap, sinks=sinks)
    # Tokens that only fill a bucket attend to nothing.
    out[:, plan.stop :] = 0
    return out


def _like_attended(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> Tensor:
    return query.new_empty(1, query.shape[2], query.shape[1], value.shape[-1])


_attend_compiled = torch.library.custom_op("sparring::attend_rows", _attend, mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,))
"""The same, opaque to a compiler: it reads the plan of the step and writes caches, which no graph may hold."""
_attend_compiled.register_fake(_like_attended)


def _attend_rows(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """The registered attention function, see `_attend`."""
    scale = kwargs.get("scaling")
    attend = _attend_compiled if torch.compiler.is_compiling() else _attend
    out = attend(
        query,
        key,
        value,
        int(module.layer_idx),  # type: ignore[arg-type]
        query.shape[-1] ** -0.5 if scale is None else float(scale),
        kwargs.get("softcap"),
        kwargs.get("sliding_window"),
        kwargs.get("s_aux"),
    )
    return out, None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attend_rows)


def bucket(tokens: int) -> int:
    """For so many tokens, of few lengths the one that a pass takes: the next multiple of 64, beyond 256 in steps of about a quarter."""
    step = 64 * max(1, 1 << ((tokens - 1) // 64).bit_length() - 3) if tokens > 256 else 64
    return -(-tokens // step) * step


def _compiled(model: Any, compiler: str) -> Any:
    """The model's forward pass, compiled. On a GPU Inductor replays it as CUDA graphs from attention to attention, one per bucket."""
    replay = compiler == "inductor" and model.device.type == "cuda"
    return torch.compile(model.forward, backend=compiler, dynamic=True, mode="reduce-overhead" if replay else None)


class PackedModel:
    """A causal model, seen as a function from packed tokens to logits at chosen places. in_blocks: whether parts may be `Blocks`.

    compiler: a backend of `torch.compile`, such as "inductor". Passes through adapters are not compiled. products: bfloat16 rounds weights
    and inputs of linear layers, keys and values of a float32 model on a CPU, where the compiled kernels are there; else, and for None,
    everything is in the model's own type.
    """

    def __init__(self, model: Any, compiler: str | None = None, products: torch.dtype | None = None) -> None:
        self.model = model
        self._compiled = _compiled(model, compiler) if compiler else None
        configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
        self._configs = [config for config in configs.values() if hasattr(config, "_attn_implementation")]
        parameter = next(model.parameters())
        self.device: torch.device = parameter.device
        self._dtype = parameter.dtype
        probe = _Probe()
        ids = torch.zeros(1, 2, dtype=torch.int64, device=self.device)
        try:
            with torch.inference_mode(), self._rows(probe):
                self._call(model, ids, torch.arange(2, device=self.device)[None], torch.tensor([1], device=self.device))
        except Exception as error:  # whatever a model of any family raises where it is called in a way that it does not know
            if out_of_memory(error):
                raise
            raise ValueError(f"{type(model).__name__} cannot be run on packed rows ({one_line(error, 100)}): {SERVED}") from error
        if not probe.shapes:
            raise ValueError(f"{type(model).__name__} does not take its attention from transformers' attention interface: {SERVED}")
        kinds = set(probe.shapes.values())
        heads, size, value_size = kinds.pop()
        if kinds or size != value_size:
            raise ValueError(f"{type(model).__name__} has layers of different shapes, which this cache cannot hold: {SERVED}")
        self.slots = {layer: slot for slot, layer in enumerate(sorted(probe.shapes))}
        self.in_blocks = probe.plain
        fused = fused_layers(model, (probe.queries, heads, size))
        rounded = products == torch.bfloat16 and kernels.AVAILABLE and self.device.type == "cpu" and parameter.dtype == torch.float32
        self._halves = HalfProducts(model) if rounded else None
        self._fused = [*fused, *(self._halves.places if self._halves else ())]
        self.products = torch.bfloat16 if rounded else parameter.dtype
        self.layout = Layout(len(self.slots), heads, size, self.products if self.in_blocks else parameter.dtype, self.device)
        self._body: Body | None = None
        if self.in_blocks and not compiler and len(probe.scores) == 1:
            ((scale, window),) = probe.scores
            body = Body(model, (probe.queries, heads, size), scale, fused, self.products)
            self._body = body if not window and self._same(body) else None
        if self._mixes():
            raise ValueError(
                f"{type(model).__name__} has layers beyond attention that carry what was said from token to token (convolutions, state "
                f"spaces), which this loop cannot keep apart: {SERVED}"
            )

    def forget(self) -> None:
        """Drops what was made of the weights, as they may have changed."""
        if self._halves:
            self._halves.forget()
        if self._body:
            self._body.forget()

    def _same(self, body: Body) -> bool:
        """Whether a pass through compiled code gives the logits that the model's own gives."""
        with torch.inference_mode():
            if not body.ready():
                return False
            ids = torch.arange(20) % self.model.get_input_embeddings().weight.shape[0]
            rows = torch.tensor([[0, 0, 0, 13], [1, 0, 13, 7]])
            found = []
            for _ in range(2):
                data = torch.zeros(2, 2 * self.layout.layers, self.layout.heads, BLOCK * self.layout.size, dtype=self.layout.dtype)
                positions = torch.cat([torch.arange(13), torch.arange(7)])
                found.append(self.forward(ids, positions, torch.tensor([12, 19]), [Blocks(rows, torch.tensor([[0], [1]]), data, 20)]))
                self._body = body
        self._body = None
        if self._halves:
            self._halves.forget()
        own, other = found
        allowed = 1e-4 if self.products == torch.float32 else 5e-2
        return bool(((own - other).abs() <= allowed * own.abs().max()).all())

    @property
    def few_lengths(self) -> bool:
        """Whether compiled passes have few lengths (`bucket`), as on a GPU, where each is one graph. On a CPU one graph takes all."""
        return self.device.type == "cuda"

    def _mixes(self) -> bool:
        """Whether the ids of one stream change the logits of another that is packed behind it."""
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        found = []
        for other in (1, vocabulary // 2):
            data = replace(self.layout, dtype=self._dtype).empty(2, BUCKET).zero_()
            part = Prefill(0, data, [0, 0], [3, 3])
            ids = torch.tensor([*range(other, other + 3), *range(3)], device=self.device) % vocabulary
            with torch.inference_mode():
                found.append(self.forward(ids, part.positions, part.last[1:], [part])[0].float())
        one, two = found
        real = one.isfinite() & two.isfinite()
        if not real.any():  # `require_faithful` says that these are no numbers
            return False
        # Mixtures of experts batch tokens by expert, which rounds otherwise.
        slack = 1e-3 if self.products == torch.float32 else 2e-2
        return bool(((one - two)[real].abs() > slack * one[real].abs().max()).any())

    @contextmanager
    def _rows(self, plan: Plan | _Probe) -> Iterator[None]:
        before = [config._attn_implementation for config in self._configs]
        training = [module for module in self.model.modules() if module.training] if self.model.training else []
        token = _active.set(plan)
        try:
            if training:
                self.model.eval()
            for config in self._configs:
                config._attn_implementation = NAME
            yield
        finally:
            _active.reset(token)
            for config, name in zip(self._configs, before, strict=True):
                config._attn_implementation = name
            for module in training:
                module.training = True

    def _call(self, forward: Any, ids: Tensor, positions: Tensor, keep: Tensor) -> Tensor:
        logits: Tensor = forward(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=keep).logits
        return logits[0]

    def forward(
        self, ids: Tensor, positions: Tensor, keep: Tensor, parts: Sequence[Part], adapters: Places = MappingProxyType({})
    ) -> Tensor:
        """Logits [len(keep), V] at packed places `keep` of tokens ids [T] at positions [T]; fills the parts' caches on the way. adapters:
        which tokens go through which.
        """
        if self._body and not adapters and len(parts) == 1 and isinstance(parts[0], Blocks) and self._body.ready():
            part = parts[0]
            return self._body(ids, keep, int(positions.max()), part.rows, part.tables, part.data)
        compiled = None if adapters else self._compiled
        quick = () if compiled else self._fused
        with self._rows(Plan(parts, self.slots)), replaced(quick), per_token(lora_layers(self.model), adapters):
            few = compiled and self.few_lengths
            # A product of a single row is another kernel, which rounds otherwise: there are always two.
            sizes = (bucket(len(x)) if few else max(2, len(x)) for x in (ids, keep))
            tokens, kept = (size - len(x) for size, x in zip(sizes, (ids, keep), strict=True))
            if tokens or kept:
                ids, positions, keep = pad(ids, (0, tokens)), pad(positions, (0, tokens)), pad(keep, (0, kept))
            logits = self._call(compiled or self.model, ids[None], positions[None], keep)
            return logits[: len(logits) - kept]
