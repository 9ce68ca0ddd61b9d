"""The whole pass of a Llama, or of a model made like one, through compiled code: one call for its layers (body.cpp), one for its head.

Whether a model is made so is found by its parts' names and by trying, see `PackedModel`. Its weights are rearranged when they are first
used, and again after `forget`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import kernels
from .fused_layers import ROTARY, Place, replaced

LARGE = 2**24
"""Weights in linear layers from which on float32 models are played by torch's products instead, as rearranged weights are a second copy."""
POSITIONS = 4096
"""For so many positions, and twice as many as they are needed, rotary cosines and sines are computed at once."""


@dataclass(frozen=True)
class _Made:
    """What is made of a model's weights."""

    layers: kernels.Layers
    norm: Tensor
    head: kernels.Panels


class Body:
    """A model's whole pass. heads: how many query heads, how many of keys, and their size. scale: of scores. fused: which norms, gates and
    rotary functions are those of the kernels, see `fused_layers`. dtype: of products, float32 or bfloat16."""

    def __init__(self, model: Any, heads: tuple[int, int, int], scale: float, fused: Sequence[Place], dtype: torch.dtype) -> None:
        self._model, self._heads, self._scale, self._fused, self._dtype = model, heads, scale, fused, dtype
        self._made: _Made | None = None
        self._other = False
        self._cosines = self._sines = torch.empty(0)

    def forget(self) -> None:
        """Gives rearranged weights back; the model may have changed."""
        self._made, self._other = None, False

    def ready(self) -> bool:
        """Whether the model, as it is now, can be passed through; rearranges its weights where they are not yet."""
        if self._made is None and not self._other:
            self._other = not self._alike()
            self._made = None if self._other else self._make()
        return self._made is not None

    def __call__(self, ids: Tensor, keep: Tensor, last: int, rows: Tensor, tables: Tensor, data: Tensor) -> Tensor:
        """Logits [len(keep), V] of packed tokens. last: the highest position of one. rows, tables, data: see kernels.attend."""
        made = self._made
        assert made is not None
        if last >= len(self._cosines):
            self._turns(max(last + 1, 2 * len(self._cosines), POSITIONS))
        x = self._model.get_input_embeddings()(ids)
        hidden = kernels.body(made.layers, x, rows, tables, data, self._cosines, self._sines, keep, made.norm)
        head = self._model.get_output_embeddings()
        # As a call of the module, so that its hooks run.
        with replaced([(vars(head), "forward", lambda some: kernels.linear(some, made.head, head.bias))]):
            logits: Tensor = head(hidden)
        return logits

    def _turns(self, positions: int) -> None:
        """Cosines and sines of so many positions."""
        rotary = self._model.get_decoder().rotary_emb
        cosines, sines = rotary(torch.empty(1, 1, 1), torch.arange(positions)[None])
        self._cosines, self._sines = (x[0].to(torch.float32).contiguous() for x in (cosines, sines))

    def _alike(self) -> bool:
        """Whether the model has the parts of a Llama and no others, as its class made them, in shapes that the kernels take."""
        queries, keys, size = self._heads
        decoder, head = self._model.get_decoder(), self._model.get_output_embeddings()
        if not _has(decoder, {"embed_tokens", "layers", "norm", "rotary_emb"}) or type(head) is not nn.Linear:
            return False
        if not len(decoder.layers) or getattr(decoder.rotary_emb, "rope_type", None) not in ("default", "linear", "llama3", "yarn"):
            return False
        for layer in decoder.layers:
            if not (
                _has(layer, {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"})
                and _has(layer.self_attn, {"q_proj", "k_proj", "v_proj", "o_proj"}, {"q_norm", "k_norm"})
                and _has(layer.mlp, {"gate_proj", "up_proj", "down_proj"}, {"act_fn"})
            ):
                return False
        parts = [_Parts(layer) for layer in decoder.layers]
        linear = [head, *(product for part in parts for product in part.products)]
        norms = [decoder.norm, *(norm for part in parts for norm in (*part.norms, *part.heads))]
        fused = {id(names) for names, _, _ in self._fused}
        width, inner = head.weight.shape[1], parts[0].gate.out_features
        grain = 32 if self._dtype == torch.bfloat16 else 16
        wanted = [(queries * size, width), *[(keys * size, width)] * 2, (width, queries * size), *[(inner, width)] * 2, (width, inner)]
        return (
            any(name == ROTARY for _, name, _ in self._fused)
            and all(id(vars(module)) in fused for module in (*norms, *(layer.mlp for layer in decoder.layers)))
            and all(_untouched(module) for module in self._model.modules() if module not in (head, decoder.embed_tokens))
            and all(type(product) is nn.Linear and product.weight.dtype == torch.float32 for product in linear)
            and all([tuple(product.weight.shape) for product in part.products] == wanted for part in parts)
            and all(len({x.bias is None for x in part.products[:3]}) == 1 for part in parts)
            and all(x.bias is None for part in parts for x in part.products[3:])
            and all(len(part.heads) in (0, 2) and all(norm.weight.shape == (size,) for norm in part.heads) for part in parts)
            and len({_epsilon(norm) for norm in norms}) == 1
            and all(norm.weight.dtype == torch.float32 for norm in norms)
            and not any(n % grain for n in (width, inner, queries * size))
            and size % 32 == 0
            and (self._dtype == torch.bfloat16 or sum(product.weight.numel() for product in linear) < LARGE)
        )

    def _make(self) -> _Made:
        queries, keys, size = self._heads
        decoder = self._model.get_decoder()
        lines: list[list[Tensor | None]] = []
        for part in map(_Parts, decoder.layers):
            q, k, v, o, gate, up, down = (product.weight for product in part.products)
            bias = None if part.q.bias is None else torch.cat([x.bias for x in part.products[:3]])
            # Gates lie beside what they are for.
            gates = torch.stack([x.view(-1, 16, x.shape[1]) for x in (gate, up)], dim=1).view(-1, gate.shape[1])
            panels = [kernels.pack(x, self._dtype).data for x in (torch.cat([q, k, v]), o, gates, down)]
            norms = [norm.weight.detach().contiguous() for norm in (*part.norms, *part.heads)]
            lines.append([*panels, *norms[:2], bias if bias is None else bias.detach(), *(norms[2:] or (None, None))])
        shape = (decoder.norm.weight.shape[0], keys, queries // keys, size, part.gate.out_features)
        layers = kernels.layers(shape, _epsilon(decoder.norm), self._scale, lines)
        head = kernels.pack(self._model.get_output_embeddings().weight, self._dtype)
        return _Made(layers, decoder.norm.weight.detach().contiguous(), head)


class _Parts:
    """Of one layer. products: linear layers. norms: before attention and before the gates. heads: norms of queries and keys, or none."""

    def __init__(self, layer: Any) -> None:
        attention, gated = layer.self_attn, layer.mlp
        self.q, self.gate = attention.q_proj, gated.gate_proj
        self.products = (self.q, attention.k_proj, attention.v_proj, attention.o_proj, self.gate, gated.up_proj, gated.down_proj)
        self.norms = (layer.input_layernorm, layer.post_attention_layernorm)
        self.heads = tuple(getattr(attention, name) for name in ("q_norm", "k_norm") if hasattr(attention, name))


def _has(module: Any, names: set[str], perhaps: frozenset[str] | set[str] = frozenset()) -> bool:
    """Whether a module is made of these modules, and perhaps of those."""
    return names <= {name for name, _ in module.named_children()} <= names | perhaps


def _untouched(module: Any) -> bool:
    """Whether a module's pass is that of its class."""
    return "forward" not in vars(module) and not module._forward_hooks and not module._forward_pre_hooks


def _epsilon(norm: Any) -> float:
    return float(getattr(norm, "variance_epsilon", getattr(norm, "eps", 0.0)))
