"""A language model that plays: model, tokenizer, chat format and generation loop behind the `Backend` interface, and the agent over it.

Here the token streams are written down as they are made: which ids were sampled, with which probability, in which turn, by which weights.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparring.envs.core import Game, Observation
from sparring.envs.views import Message, Renderer

from .chat import ChatFormat
from .core import Finish, Reply, Request, Sampling, Segment, TurnSpan, derive_seed
from .hfloop import Generated, HFLoop


@dataclass(eq=False)
class _Record:
    """One stream's books. ids, action and logprobs run in step; `turns` and what is below describe the segment being written."""

    ids: list[int] = field(default_factory=list)
    action: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    turns: list[TurnSpan] = field(default_factory=list)
    temperature: float = 1.0
    version: str = ""
    ended: bool = True
    closed: list[Segment] = field(default_factory=list)

    def append(self, ids: Sequence[int]) -> None:
        """Adds ids that are no actions."""
        self.ids.extend(ids)
        self.action.extend([False] * len(ids))
        self.logprobs.extend([0.0] * len(ids))

    def cut(self) -> None:
        """Ends the segment; the next one begins with the same ids, as context."""
        if self.turns:
            self.closed.append(self.segment())
        self.turns = []
        self.action = [False] * len(self.ids)
        self.logprobs = [0.0] * len(self.ids)

    def segment(self) -> Segment:
        return Segment(
            ids=np.array(self.ids, np.int64),
            action=np.array(self.action, np.bool_),
            logprobs=np.array(self.logprobs, np.float32),
            turns=tuple(self.turns),
            temperature=self.temperature,
            weight_version=self.version,
        )


class LanguageModel:
    """A causal model and its tokenizer as a backend.

    name: how episodes call it. weight_version: names the weights; the trainer sets it with `set_version` after an update. max_rows,
    max_streams, max_length: see HFLoop.
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
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.weight_version = weight_version
        self.format = ChatFormat(tokenizer, extra_end_ids=_end_ids(model))
        self.loop = HFLoop(
            model,
            end_ids=self.format.end_ids,
            max_rows=max_rows,
            max_length=max_length,
            max_streams=max_streams,
        )
        self._records: dict[str, _Record] = {}

    def set_version(self, version: str) -> None:
        """Says that the weights have changed: every cache is dropped, streams are rebuilt from their ids when next used."""
        self.weight_version = version
        self.loop.invalidate()

    def submit(self, request: Request) -> None:
        """Raises ValueError where the stream's first prompt leaves no room for a reply."""
        record = self._records.get(request.stream)
        if record is None:
            ids = self.format.open(request.messages)
            room = self.loop.max_length - len(ids)
            if room < 1:
                raise ValueError(
                    f"{self.name}: the first prompt takes {len(ids)} tokens, but the context holds "
                    f"{self.loop.max_length}: use a model with a longer context, or shorter prompts"
                )
            record = self._records[request.stream] = _Record()
        else:
            ids = self.format.extend(request.messages, ended=record.ended)
        if record.turns and (record.version, record.temperature) != (
            self.weight_version,
            request.sampling.temperature,
        ):
            record.cut()
        record.version, record.temperature = self.weight_version, request.sampling.temperature
        record.append(ids)
        stops = request.sampling.stop
        stop = (lambda said: any(text in self.format.decode(said) for text in stops)) if stops else None
        self.loop.submit(request.stream, ids, request.sampling, request.seed, tag=request, stop=stop)

    def poll(self) -> list[tuple[Request, Reply]]:
        """Finished replies. Raises what the model raises, but running out of GPU memory ends the replies in the making with an error."""
        return [(done.tag, self._reply(done.tag, done)) for done in self.loop.poll()]

    def _reply(self, request: Request, done: Generated) -> Reply:
        record = self._records[done.stream]
        start = len(record.ids)
        record.ids.extend(done.ids.tolist())
        record.action.extend([request.trainable] * len(done.ids))
        record.logprobs.extend(done.logprobs.tolist() if request.trainable else [0.0] * len(done.ids))
        record.turns.append(TurnSpan(request.turn, start, len(record.ids), done.finish))
        record.ended = done.ended
        text = self.format.decode(done.ids.tolist())
        for stop in request.sampling.stop:
            text = text.split(stop, 1)[0]
        private, public = self.format.split_thinking(text)
        return Reply(public, private, done.finish, len(done.ids))

    def close(self, stream: str) -> tuple[Segment, ...]:
        """Frees a stream and returns its segments; a reply in the making is dropped."""
        record = self._records.pop(stream, None)
        self.loop.close(stream)
        if record is None:
            return ()
        return (*record.closed, record.segment()) if record.turns else tuple(record.closed)


def _end_ids(model: Any) -> tuple[int, ...]:
    """End tokens that the model's own generation settings name."""
    eos = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if eos is None:
        eos = getattr(model.config, "eos_token_id", None)
    return () if eos is None else tuple(eos) if isinstance(eos, (list, tuple)) else (int(eos),)


def load_language_model(
    path_or_id: str | Path,
    *,
    name: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    attn: str | None = None,
    trust_remote_code: bool = False,
    weight_version: str = "0",
    max_rows: int = 256,
    max_streams: int = 1024,
    max_length: int | None = None,
) -> LanguageModel:
    """A model folder, or a hub id, by plain `from_pretrained`.

    device: None takes a GPU where there is one. dtype: None means bfloat16 on a GPU and float32 on a CPU, "auto" what is stored.
    attn: the attention implementation outside generation (training). Raises ValueError with what is missing.
    """
    from transformers import AutoModelForCausalLM

    path = str(path_or_id)
    tokenizer = load_tokenizer(path, trust_remote_code=trust_remote_code)
    target = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(dtype, str) and dtype != "auto":
        dtype = getattr(torch, dtype)
    kind = dtype or (torch.bfloat16 if target.type == "cuda" else torch.float32)
    options: dict[str, Any] = {"attn_implementation": attn} if attn else {}
    try:
        with quiet_if(Path(path).is_dir()):
            model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=kind, trust_remote_code=trust_remote_code, **options)
    except OSError as error:
        raise ValueError(f"no model weights in {path!r}: {error}") from error
    return LanguageModel(
        model.to(target).eval(),
        tokenizer,
        name=name or path,
        weight_version=weight_version,
        max_rows=max_rows,
        max_streams=max_streams,
        max_length=max_length,
    )


@contextmanager
def quiet_if(quiet: bool) -> Iterator[None]:
    """Leaves out the progress bars of transformers: those of reading and writing a folder only hide our own."""
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    if quiet:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


def load_tokenizer(path: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model folder or hub id. Raises ValueError for a missing folder, and for one without a tokenizer."""
    from transformers import AutoTokenizer

    folder = Path(path)
    looks_local = folder.exists() or path.startswith((".", "/", "~")) or path.count("/") != 1
    if looks_local:
        if not folder.is_dir():
            raise ValueError(f"there is no model folder {path!r}")
        if not (folder / "config.json").is_file():
            raise ValueError(f"{path!r} is no model folder: it has no config.json")
        if not any(
            (folder / file).is_file()
            for file in (
                "tokenizer.json",
                "tokenizer.model",
                "tokenizer_config.json",
                "vocab.json",
                "vocab.txt",
            )
        ):
            raise ValueError(f"{path!r} has no tokenizer: save it there with tokenizer.save_pretrained")
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        if looks_local:
            raise ValueError(f"the tokenizer in {path!r} cannot be read: {error}") from error
        offline = " (HF_HUB_OFFLINE is set, so the hub was not asked)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
        raise ValueError(f"{path!r} is neither a folder nor a model that the hub gave{offline}: {error}") from error


@dataclass(eq=False)
class _ModelSeat:
    """One game of a ModelAgent. seen: the messages its stream already holds, the last reply included."""

    agent: "ModelAgent"
    key: str
    seed: int
    seen: tuple[Message, ...] = ()
    turn: int = 0
    streams: int = 0
    segments: list[Segment] = field(default_factory=list)

    @property
    def stream(self) -> str:
        return f"{self.key}#{self.streams}"

    def act(self, observation: Observation) -> Generator[Request, Reply, Reply]:
        messages = self.agent.renderer.render(observation)
        if self.seen and messages[: len(self.seen)] != self.seen:
            # The renderer rewrote history, so the stream cannot be continued.
            self.segments.extend(self.agent.model.close(self.stream))
            self.streams += 1
            self.seen = ()
        request = Request(
            backend=self.agent.model,
            stream=self.stream,
            messages=messages[len(self.seen) :],
            sampling=self.agent.sampling,
            seed=derive_seed(self.seed, self.turn),
            turn=len(observation.utterances),
            trainable=self.agent.trainable,
        )
        reply = yield request
        self.turn += 1
        self.seen = (*messages, Message("assistant", reply.text))
        return reply

    def close(self) -> tuple[Segment, ...]:
        self.segments.extend(self.agent.model.close(self.stream))
        return tuple(self.segments)


class ModelAgent:
    """Plays by asking a language model for each utterance."""

    def __init__(
        self,
        model: LanguageModel,
        renderer: Renderer,
        sampling: Sampling,
        *,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        self.model = model
        self.renderer = renderer
        self.sampling = sampling
        self.name = name or model.name
        self.trainable = trainable

    @property
    def weight_version(self) -> str | None:
        return self.model.weight_version

    def seat(self, game: Game, role: str, key: str, seed: int) -> _ModelSeat:
        return _ModelSeat(self, key, seed)


def is_failure(finish: Finish) -> bool:
    """Whether a reply says that the infrastructure failed, which voids the game."""
    return finish == "error"
