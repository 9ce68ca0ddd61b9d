"""A language model as a backend: model, tokenizer, chat format and generation loop."""

import datetime
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core import Reply, Request, Segment
from ..engine.loop import HFLoop
from ..players.player_card import CARD, PlayerCard
from ..text import one_line
from .adapter_folders import active_adapter, load_adapter, quiet_if, save_adapter
from .chat_format import ChatFormat
from .fidelity import no_numbers
from .token_streams import TokenStreams


class LanguageModel:
    """A causal model and its tokenizer as a backend.

    name: how episodes call it. weight_version: identifies the weights; the trainer sets it with `set_version`
    after an update. max_rows, max_streams, max_length, max_memory, pool_memory, compiler, products: see
    HFLoop. adapter: the LoRA adapter of requests that name none; None: the model itself. day: see ChatFormat.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str = "model",
        weight_version: str = "0",
        max_rows: int = 256,
        max_streams: int = 1024,
        max_length: int | None = None,
        max_memory: int | None = None,
        pool_memory: int | None = None,
        compiler: str | None = None,
        products: torch.dtype | None = None,
        day: datetime.date | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.weight_version = weight_version
        self.format = ChatFormat(tokenizer, extra_end_ids=_end_ids(model), day=day)
        self.loop = HFLoop(
            model,
            end_ids=self.format.end_ids,
            max_rows=max_rows,
            max_length=max_length,
            max_streams=max_streams,
            max_memory=max_memory,
            pool_memory=pool_memory,
            compiler=compiler,
            products=products,
        )
        self.streams = TokenStreams(self.format, name)
        self.adapters: dict[str, str] = {}
        self.adapter: str | None = None

    @property
    def products(self) -> torch.dtype:
        """The dtype of matrix products in play; it may be bfloat16 for float32 weights, which a learner
        keeps."""
        return self.loop.packed.products

    def active_adapter(self) -> AbstractContextManager[None]:
        """Context in which plain forward passes of `model` use this model's own adapter."""
        return active_adapter(self.model, self.adapter)

    def set_version(self, version: str) -> None:
        """Declares new weights: all caches are dropped, and streams are recomputed from their ids when next
        used."""
        self.weight_version = version
        self.loop.invalidate()

    def forget_caches(self) -> None:
        """Drops all caches, so that later replies do not depend on earlier ones, not even by rounding."""
        self.loop.invalidate()

    def load_adapter(self, folder: str | Path) -> str:
        """Loads a LoRA adapter beside those that are loaded, and returns its name for requests. Raises
        ValueError for one that does not fit."""
        name = f"adapter{len(self.adapters)}"
        if str(folder) not in self.adapters:
            load_adapter(self.model, folder, name)
            self.adapters[str(folder)] = name
        return self.adapters[str(folder)]

    def submit(self, request: Request) -> None:
        """Raises NoRoomError where the stream's first prompt leaves no room for a reply."""
        request = replace(request, adapter=request.adapter or self.adapter)
        ids = self.streams.extend(request, version=self.weight_version, room=self.loop.max_length)
        stops = request.sampling.stop
        # A stop string lies in as many last tokens as it has bytes, a few more for what a tokenizer trims at
        # the edge.
        tail = max((len(text.encode()) for text in stops), default=0) + 4
        stop = (lambda sampled: any(text in self.format.raw(sampled[-tail:]) for text in stops)) if stops else None
        self.loop.submit(request.stream, ids, request.sampling, request.seed, tag=request, stop=stop, adapter=request.adapter)

    def poll(self) -> list[tuple[Request, Reply]]:
        """Finished replies. Exceptions of the model propagate; raises ValueError for NaN logits. Running out
        of memory: see HFLoop."""
        finished = self.loop.poll()
        if any(np.isnan(done.logprobs).any() for done in finished):
            raise ValueError(no_numbers(self.name))
        return [
            (done.tag, self.streams.reply(done.tag, done.ids.tolist(), done.logprobs.tolist(), done.finish, ended=done.ended))
            for done in finished
        ]

    def close(self, stream: str) -> tuple[Segment, ...]:
        """Frees a stream and returns its segments; an unfinished reply is dropped."""
        self.loop.close(stream)
        return self.streams.close(stream)


def _end_ids(model: Any) -> tuple[int, ...]:
    """End tokens in the model's own generation settings."""
    eos = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if eos is None:
        eos = getattr(model.config, "eos_token_id", None)
    ids = () if eos is None else tuple(eos) if isinstance(eos, (list, tuple)) else (eos,)
    if not all(isinstance(i, int) for i in ids):
        raise ValueError(f"generation_config.json: eos_token_id must be a token id or a list of them, it is {one_line(eos, 60)}")
    return ids


def write_model(model: LanguageModel, card: PlayerCard, folder: Path, base: Path | None = None) -> None:
    """Writes a model, its tokenizer and its card as a plain transformers folder. base: for a model with an
    adapter, the folder of the base weights; then only the adapter is written."""
    folder.mkdir(parents=True, exist_ok=True)
    if model.adapter is not None and base is not None:
        save_adapter(model.model, model.adapter, folder, base)
    else:
        with quiet_if(True):
            model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    card.save(folder)
    mode = (folder / CARD).stat().st_mode  # as the umask has it; safetensors lets the owner alone read
    for file in folder.iterdir():
        file.chmod(mode)
