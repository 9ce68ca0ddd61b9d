"""The games of benchmarks/speed/generation.py through llama.cpp, as a server of it would serve them at its best: one sequence per game and
role, whose cache is kept from turn to turn, all of them decoded in one batch. Needs the packages llama-cpp-python and gguf, and a Llama.
"""

import ctypes
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.agents.core import derive_seed
from sparring.agents.engine.sampling import Settings, draw, uniform
from sparring.envs.core import State

from .common import Run, Setting, cut, history, opening, said

MOST = 256
"""Sequences that llama.cpp can hold, so that at most half as many games are in play."""
TOKENS = 2048
"""Most tokens of one batch."""


@dataclass(eq=False)
class _Reply:
    """One reply in the making, in a sequence. given: ids that the sequence does not hold yet."""

    name: Any
    sequence: int
    given: list[int]
    seed: int
    limit: int
    out: list[int] = field(default_factory=list)


class Llama:
    """A context of llama.cpp with one sequence per stream. held: the ids of each sequence."""

    def __init__(self, setting: Setting, sequences: int) -> None:
        import llama_cpp

        self.api: Any = llama_cpp
        self.setting = setting
        with _log_off(llama_cpp), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            write_gguf(setting.model.model, path)
            options = llama_cpp.llama_model_default_params()
            options.n_gpu_layers = 0 if setting.model.model.device.type == "cpu" else 10_000
            self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), options)
            limits = llama_cpp.llama_context_default_params()
            limits.n_seq_max = sequences
            limits.n_ctx = sequences * min(setting.model.loop.max_length, 512)
            limits.n_batch = limits.n_ubatch = TOKENS
            limits.n_threads = limits.n_threads_batch = torch.get_num_threads()
            if setting.model.model.dtype == torch.float32:
                limits.type_k = limits.type_v = llama_cpp.GGML_TYPE_F32
            self.context = llama_cpp.llama_init_from_model(self.model, limits)
        if not self.context:
            raise RuntimeError("llama.cpp cannot load the model")
        self.batch = llama_cpp.llama_batch_init(TOKENS, 0, 1)
        self.held: list[list[int]] = [[] for _ in range(sequences)]

    def close(self) -> None:
        self.api.llama_batch_free(self.batch)
        self.api.llama_free(self.context)
        self.api.llama_model_free(self.model)

    def extend(self, sequence: int, ids: Sequence[int]) -> list[int]:
        """Cuts a sequence back to what it shares with ids; the rest of ids, at least one."""
        held = self.held[sequence]
        shared = next((i for i, (a, b) in enumerate(zip(held, ids, strict=False)) if a != b), min(len(held), len(ids)))
        shared = min(shared, len(ids) - 1)
        if shared < len(held):
            self.api.llama_memory_seq_rm(self.api.llama_get_memory(self.context), sequence, shared, -1)
            del held[shared:]
        return list(ids[shared:])

    def step(self, replies: Sequence[_Reply]) -> list[_Reply]:
        """One batch with what every reply has to give, as far as it fits; one token is drawn for each of them. Those that were in it."""
        batch, count = self.batch, 0
        joined: list[_Reply] = []
        for reply in replies:
            if count + len(reply.given) > TOKENS:
                break
            held = self.held[reply.sequence]
            for token in reply.given:
                batch.token[count], batch.pos[count] = token, len(held)
                batch.n_seq_id[count], batch.seq_id[count][0] = 1, reply.sequence
                batch.logits[count] = False
                held.append(token)
                count += 1
            batch.logits[count - 1] = True
            joined.append(reply)
        batch.n_tokens = count
        failed = self.api.llama_decode(self.context, batch)
        if failed:
            raise RuntimeError(f"llama.cpp failed to decode: {failed}")
        for reply, token in zip(joined, self._draw(joined), strict=True):
            reply.out.append(token)
            reply.given = [token]
        return joined

    def _draw(self, replies: Sequence[_Reply]) -> list[int]:
        size = self.setting.model.model.config.vocab_size
        rows = ctypes.cast(self.api.llama_get_logits(self.context), ctypes.POINTER(ctypes.c_float))
        logits: Tensor = torch.from_numpy(np.ctypeslib.as_array(rows, (len(replies), size)))
        head = self.setting.model.model.get_output_embeddings()
        for hook in head._forward_hooks.values():
            logits = hook(head, (), logits)
        numbers = uniform(torch.tensor([reply.seed for reply in replies]), torch.tensor([len(reply.out) for reply in replies]))
        return list(draw(logits, numbers, Settings.of([self.setting.sampling] * len(replies))).ids.tolist())


def llama_cpp_loop(setting: Setting, games: int, batch: int) -> Run:
    """Sequences with kept caches; finished replies leave at once, other games take their place."""
    llama = Llama(setting, 2 * min(batch, MOST // 2))
    try:
        began = time.perf_counter()
        tokens = utterances = 0
        waiting = list(setting.numbers(games))[::-1]
        states: dict[int, State] = {}
        free = list(range(min(batch, MOST // 2)))
        replies: list[_Reply] = []
        slots: dict[int, int] = {}

        def ask(number: int) -> _Reply:
            state = states[number]
            assert state.to_act is not None
            sequence = 2 * slots[number] + list(setting.game.roles).index(state.to_act)
            given = llama.extend(sequence, history(setting, state))
            return _Reply(
                number, sequence, given, derive_seed(setting.seed, number, len(state.utterances)), setting.sampling.max_new_tokens
            )

        while waiting or replies:
            while waiting and free:
                number = waiting.pop()
                states[number], slots[number] = opening(setting, number), free.pop()
                replies.append(ask(number))
            for reply in llama.step(replies):
                if len(reply.out) < reply.limit and reply.out[-1] not in setting.model.format.end_ids:
                    continue
                replies.remove(reply)
                words = cut(setting, reply.out)
                tokens += len(words)
                utterances += 1
                states[reply.name] = said(setting, states[reply.name], words)
                if states[reply.name].to_act is None:
                    free.append(slots[reply.name])
                else:
                    replies.append(ask(reply.name))
        return Run(time.perf_counter() - began, tokens, utterances, len(states))
    finally:
        llama.close()


def reply_llama(setting: Setting, prompts: Sequence[Sequence[int]], tokens: int) -> float:
    """Seconds that replies of so many tokens to all prompts take, whatever they are."""
    llama = Llama(setting, min(len(prompts), MOST))
    try:
        began = time.perf_counter()
        for first in range(0, len(prompts), MOST):
            replies = [_Reply(i, i, llama.extend(i, prompt), i, tokens) for i, prompt in enumerate(prompts[first : first + MOST])]
            while replies:
                done = llama.step(replies)
                replies = [r for r in replies if r not in done] + [r for r in done if len(r.out) < r.limit]
        return time.perf_counter() - began
    finally:
        llama.close()


@contextmanager
def _log_off(api: Any) -> Iterator[None]:
    silent = api.llama_log_callback(lambda level, text, data: None)
    api.llama_log_set(silent, ctypes.c_void_p(0))
    yield
    # The callback must live as long as it may be called.
    _kept.append(silent)


_kept: list[Any] = []


def write_gguf(model: Any, path: Path) -> None:
    """A Llama's weights in llama.cpp's format, without a vocabulary. Raises ValueError for any other architecture."""
    import gguf

    config = model.config
    if config.model_type != "llama":
        raise ValueError(f"only a Llama is written for llama.cpp here, not {config.model_type!r}")
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    half = model.dtype != torch.float32
    for name, tensor in named(model.state_dict(), tied=config.tie_word_embeddings).items():
        if ".attn_q." in name or ".attn_k." in name:
            tensor = interleaved(tensor, heads if ".attn_q." in name else kv_heads)
        kind = np.float16 if half and tensor.dim() > 1 else np.float32
        writer.add_tensor(name, tensor.float().cpu().numpy().astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""transformers' names of a layer's parts, and llama.cpp's."""


def named(weights: Mapping[str, Tensor], *, tied: bool) -> dict[str, Tensor]:
    """The weights under llama.cpp's names. tied: the head is the embedding, and left out."""
    found = {}
    for name, tensor in weights.items():
        if name.startswith("model.layers."):
            number, part = name.removeprefix("model.layers.").split(".", 1)
            found[f"blk.{number}.{PARTS[part.removesuffix('.weight')]}.weight"] = tensor
        elif name == "model.embed_tokens.weight":
            found["token_embd.weight"] = tensor
        elif name == "model.norm.weight":
            found["output_norm.weight"] = tensor
        elif name == "lm_head.weight" and not tied:
            found["output.weight"] = tensor
    return found


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """A projection [heads * D, in] whose rotary pairs (i, i + D/2) become neighbours (2 i, 2 i + 1), as llama.cpp turns them."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
