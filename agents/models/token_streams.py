"""Records of token streams: which ids were sampled, with which log-probability, in which turn, by which
weights.

They are recorded while ids are sampled, by a loop in this process or by a server that takes and returns ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sparring.envs.hosting.opponents import OpponentFailedError
from sparring.envs.views import Message

from ..core import Finish, Reply, Request, Segment, TurnSpan
from .chat_format import ChatFormat


class NoRoomError(OpponentFailedError, ValueError):
    """A first prompt that leaves no room for a reply. The game is void, as the player cannot take part in
    it."""


@dataclass(eq=False)
class _Record:
    """One stream. ids, loss_mask and logprobs have equal lengths; `turns` and the fields after it belong to
    the segment that is being recorded."""

    ids: list[int] = field(default_factory=list)
    loss_mask: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    turns: list[TurnSpan] = field(default_factory=list)
    temperature: float = 1.0
    version: str = ""
    adapter: str | None = None
    ended: bool = True
    closed: list[Segment] = field(default_factory=list)

    def append(self, ids: Sequence[int]) -> None:
        """Appends ids with loss_mask False."""
        self.ids.extend(ids)
        self.loss_mask.extend([False] * len(ids))
        self.logprobs.extend([0.0] * len(ids))

    def cut(self) -> None:
        """Ends the segment; the next one begins with the same ids as context."""
        if self.turns:
            self.closed.append(self.segment())
        self.turns = []
        self.loss_mask = [False] * len(self.ids)
        self.logprobs = [0.0] * len(self.ids)

    def segment(self) -> Segment:
        return Segment(
            ids=np.array(self.ids, np.int64),
            loss_mask=np.array(self.loss_mask, np.bool_),
            logprobs=np.array(self.logprobs, np.float32),
            turns=tuple(self.turns),
            temperature=self.temperature,
            weight_version=self.version,
            adapter=self.adapter,
        )


class TokenStreams:
    """All streams of one model. name: of the model, for errors."""

    def __init__(self, chat: ChatFormat, name: str) -> None:
        self.chat = chat
        self.name = name
        self._records: dict[str, _Record] = {}

    def extend(self, request: Request, *, version: str, room: int) -> list[int]:
        """Appends a request's messages to its stream (created on first use) and returns the new ids.

        version: the weights that will answer. room: longest stream in tokens. Raises NoRoomError where the
        first prompt leaves no room, ValueError where no prompt would.
        """
        record = self._records.get(request.stream)
        if record is None:
            ids = self.chat.open(request.messages)
            if len(ids) >= room:
                least = len(self.chat.open([Message("system", ""), Message("user", "")]))
                raise (NoRoomError if least < room else ValueError)(
                    f"{self.name}: the first prompt takes {len(ids)} tokens, but the context holds "
                    f"{room}: use a model with a longer context, or shorter prompts"
                )
            record = self._records[request.stream] = _Record()
        else:
            ids = self.chat.extend(request.messages, ended=record.ended)
        if record.turns and (record.version, record.temperature) != (version, request.sampling.temperature):
            record.cut()
        record.version, record.temperature, record.adapter = version, request.sampling.temperature, request.adapter
        record.append(ids)
        return ids

    def ids(self, stream: str) -> list[int]:
        """All ids of a stream."""
        return list(self._records[stream].ids)

    def reply(self, request: Request, ids: Sequence[int], logprobs: Sequence[float], finish: Finish, *, ended: bool) -> Reply:
        """Records the sampled ids that answer a request and returns them as a reply. ended: True if the last
        id is an end token."""
        record = self._records[request.stream]
        start = len(record.ids)
        record.ids.extend(ids)
        record.loss_mask.extend([request.trainable] * len(ids))
        record.logprobs.extend(logprobs if request.trainable else [0.0] * len(ids))
        record.turns.append(TurnSpan(request.turn, start, len(record.ids), finish))
        record.ended = ended
        private, public = self.chat.split_thinking(self.chat.decode(ids, request.sampling.stop))
        return Reply(public, private, finish, len(ids))

    def close(self, stream: str) -> tuple[Segment, ...]:
        """Forgets a stream and returns its segments; a reply that was not recorded is left out. Unknown
        streams give ()."""
        record = self._records.pop(stream, None)
        if record is None:
            return ()
        return (*record.closed, record.segment()) if record.turns else tuple(record.closed)
