"""The games of benchmarks/speed/generation.py through llama.cpp's own server, for models that come as a GGUF file. Needs xllamacpp, gguf.

A slot for each game and role keeps its cache from turn to turn, or one for each game that its roles share, whichever is faster. The file
is served as it is (`llama_file`), and with its weights in the type that decodes fastest here (`llama_best`).
"""

import json
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

from sparring.agents.core import derive_seed

from .common import Run, Setting, history, opening, said

KINDS = ("Q4_0", "Q4_1", "Q8_0", "BF16")
"""Types of weights that are tried."""
CONTEXT = 1024
"""Positions of a slot."""


class LlamaServer:
    """A server on a file, in this process. slots: requests that it works on at once."""

    def __init__(self, path: Path, slots: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_parallel, params.n_ctx, params.kv_unified = slots, slots * CONTEXT, False
        params.n_batch = params.n_ubatch = 2048
        params.warmup, params.fit_params, params.verbosity, params.cache_ram_mib = False, False, -1, 0
        params.n_threads_http = slots + 8
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
        self.slots = slots
        self._server = xllamacpp.Server(params)

    def reply(
        self, ids: Sequence[int], slot: int, setting: Setting, seed: int, limit: int, *, exactly: bool = False
    ) -> tuple[list[int], bool]:
        """Sampled ids, and whether the end token that is not among them came after. exactly: of `limit` tokens, whatever they are."""
        asked = {
            "prompt": list(ids),
            "id_slot": slot,
            "cache_prompt": True,
            "n_predict": min(limit, CONTEXT - len(ids) - 1),
            "temperature": setting.sampling.temperature,
            "samplers": ["temperature"],
            "seed": seed % 2**31,
            "ignore_eos": exactly,
            "return_tokens": True,
        }
        place = self._server.listening_address + "/completion"
        request = urllib.request.Request(place, json.dumps(asked).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as response:
            answer: dict[str, Any] = json.load(response)
        return [int(n) for n in answer["tokens"]], answer["stop_type"] == "eos"


def _games(setting: Setting, games: int, batch: int, path: Path, slots: int) -> Run:
    """Plays games, `batch` at once."""
    server = _server(path, slots)
    free = list(range(batch))
    roles = list(setting.game.roles)

    def play(number: int) -> tuple[int, int]:
        place, state, tokens, utterances = free.pop(), opening(setting, number), 0, 0
        while state.to_act is not None:
            # With a slot for each game, its roles share it.
            slot = 2 * place + roles.index(state.to_act) if slots > batch else place
            seed = derive_seed(setting.seed, number, utterances)
            reply, ended = server.reply(history(setting, state), slot, setting, seed, setting.sampling.max_new_tokens)
            state = said(setting, state, [*reply, *(sorted(setting.model.format.end_ids)[:1] if ended else ())])
            tokens, utterances = tokens + len(reply) + ended, utterances + 1
        free.append(place)
        return tokens, utterances

    began = time.perf_counter()
    with ThreadPoolExecutor(batch) as pool:
        played = list(pool.map(play, setting.numbers(games)))
    return Run(time.perf_counter() - began, sum(t for t, _ in played), sum(u for _, u in played), len(played))


def llama_file(setting: Setting, games: int, batch: int) -> Run:
    """The file as it is."""
    assert setting.file is not None
    return _games(setting, games, batch, setting.file, _slots(setting, batch, setting.file))


def llama_best(setting: Setting, games: int, batch: int) -> Run:
    """The same weights in the type that decodes fastest."""
    path = as_kind(setting.file, best_kind(setting, batch))
    return _games(setting, games, batch, path, _slots(setting, batch, path))


def _slots(setting: Setting, batch: int, path: Path) -> int:
    """One slot a game, or two, whichever plays 1 in 4 games faster; found out once."""
    key = (path, batch)
    if key not in _chosen:
        some = max(1, batch // 4)
        rates = {slots: (run := _games(setting, some, batch, path, slots)).tokens / run.seconds for slots in (batch, 2 * batch)}
        _chosen[key] = max(rates, key=lambda slots: rates[slots])
    return _chosen[key]


_chosen: dict[tuple[Path, int], int] = {}


def best_kind(setting: Setting, batch: int) -> str:
    """The type of weights that decodes fastest; found out once."""
    if batch not in _kinds:
        rates = {kind: rate(setting, as_kind(setting.file, kind), batch) for kind in KINDS}
        _kinds[batch] = max(rates, key=lambda kind: rates[kind])
    return _kinds[batch]


_kinds: dict[int, str] = {}


def rate(setting: Setting, path: Path, batch: int, reply: int = 24) -> float:
    """Tokens a second that `batch` replies are decoded at, of one short prompt each."""
    server = _server(path, batch)
    prompts = [[10 + number, 20, 30] for number in range(batch)]

    def seconds(tokens: int) -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(batch) as pool:
            list(pool.map(lambda slot: server.reply(prompts[slot], slot, setting, slot, tokens, exactly=True), range(batch)))
        return time.perf_counter() - began

    short = seconds(2)
    return batch * reply / max(seconds(2 + reply) - short, 1e-9)


def reply_server(setting: Setting, prompts: Sequence[Sequence[int]], tokens: int, *, best: bool) -> float:
    """Seconds that replies of so many tokens to all prompts take, whatever they are."""
    assert setting.file is not None
    path = as_kind(setting.file, best_kind(setting, len(prompts))) if best else setting.file
    server = _server(path, len(prompts))
    began = time.perf_counter()
    with ThreadPoolExecutor(len(prompts)) as pool:
        list(pool.map(lambda slot: server.reply(prompts[slot], slot, setting, slot, tokens, exactly=True), range(len(prompts))))
    return time.perf_counter() - began


_running: dict[tuple[Path, int], LlamaServer] = {}


def _server(path: Path, slots: int) -> LlamaServer:
    """The server of a file; another one that runs is stopped, as its caches take gigabytes."""
    if (path, slots) not in _running:
        _running.clear()
        _running[path, slots] = LlamaServer(path, slots)
    return _running[path, slots]


@cache
def as_kind(path: Path | None, kind: str) -> Path:
    """The file with its matrices in another type; kept as long as this process runs."""
    import gguf
    from gguf.quants import dequantize, quantize

    assert path is not None
    if kind in path.stem:
        return path
    reader = gguf.GGUFReader(str(path))
    wanted = gguf.GGMLQuantizationType[kind]
    out = Path(_folder().name) / f"{kind}.gguf"
    writer = gguf.GGUFWriter(str(out), str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            kinds = field.types
            writer.add_key_value(name, field.contents(), kinds[0], sub_type=kinds[-1] if len(kinds) > 1 else None)
    for tensor in reader.tensors:
        if len(tensor.shape) > 1:
            writer.add_tensor(tensor.name, quantize(dequantize(tensor.data, tensor.tensor_type), wanted), raw_dtype=wanted)
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory()
