"""The vocabulary of playing: sampling, requests, replies, token segments, agents and backends.

An agent gives a player for each game. When it is its turn, the player's `act` runs as a coroutine: it
*yields* requests to language models and is sent their replies, until it returns what it says. A scheduler
(`sparring.agents.rollout`) collects the requests of many games and hands them to each backend in batches, so
that workflows (reflection, search, vote) nest without anyone waiting for the slowest game.
"""

import hashlib
import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sparring.envs.core import Game, Observation
from sparring.envs.views import Message

Finish = Literal["stop", "length", "error"]
"""Why a reply ended: an end token or stop string; the length limit; a failure of the infrastructure. Never
inferred from the last id."""

MOST_TOKENS = 10_000_000
"""More tokens than any model samples for one reply: who counts more has miscounted."""


@dataclass(frozen=True)
class Sampling:
    """How to draw tokens. temperature 0 is greedy. top_k 0, top_p 1 and min_p 0 switch those filters off.
    Before min_new_tokens neither an end token nor a stop string ends a reply. Raises ValueError for what is
    no distribution, no length, or an empty stop string."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    max_new_tokens: int = 256
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be a number of at least 0, got {self.temperature}")
        if self.top_k < 0 or not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1:
            raise ValueError(
                f"top_k must be at least 0, top_p in (0, 1] and min_p in [0, 1], got {self.top_k}, {self.top_p} and {self.min_p}"
            )
        if self.max_new_tokens < 1 or not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ValueError(
                f"max_new_tokens must be at least 1 and min_new_tokens from 0 up to it, got {self.max_new_tokens} and {self.min_new_tokens}"
            )
        if "" in self.stop:
            raise ValueError("a stop string cannot be empty")

    @property
    def exact(self) -> bool:
        """Whether stored log-probabilities are those of the model's full distribution at this temperature."""
        filtered = self.top_k > 0 or self.top_p < 1 or self.min_p > 0 or self.min_new_tokens > 0
        return self.temperature > 0 and not filtered


@dataclass(frozen=True)
class Request:
    """Continue `stream` by `messages` (only what is new to it) and sample a reply.

    seed: decides the sampled tokens, whatever else is in the batch. turn: the game turn that the reply
    belongs to. trainable: whether the reply's tokens are actions for the learner. adapter: the LoRA adapter
    that answers, if any.
    """

    backend: "Backend" = field(compare=False, repr=False)
    stream: str
    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int
    turn: int = 0
    trainable: bool = True
    adapter: str | None = None


@dataclass(frozen=True)
class Reply:
    """What came back. text: the public utterance. private: thinking, which neither judge nor opponent sees.
    tokens: how many were sampled."""

    text: str
    private: str = ""
    finish: Finish = "stop"
    tokens: int = 0


@dataclass(frozen=True)
class TurnSpan:
    """Positions [start, end) of one sampled reply in its segment, its end token included where one was
    sampled."""

    turn: int
    start: int
    end: int
    finish: Finish


@dataclass(frozen=True)
class Segment:
    """A stretch of one role's token stream, as it was sampled; made while sampling, never by tokenising text
    again.

    ids: int64 [n]. loss_mask: bool [n], True where the token was sampled by the agent and may be trained on
    (False: rules, opponent, separators, an end token that was appended to a truncated reply). logprobs:
    float32 [n], the sampler's log-probability at `temperature` where loss_mask is True, else 0.
    weight_version: names the weights that sampled; adapter: the LoRA adapter, if any.
    """

    ids: NDArray[np.int64]
    loss_mask: NDArray[np.bool_]
    logprobs: NDArray[np.float32]
    turns: tuple[TurnSpan, ...]
    temperature: float
    weight_version: str
    adapter: str | None = None


class Backend(Protocol):
    """Something that answers requests in batches: an in-process generation loop, or a server."""

    name: str

    def submit(self, request: Request) -> None: ...

    def poll(self) -> list[tuple[Request, Reply]]:
        """Advances the work until at least one reply is finished and returns the finished ones; empty only
        when nothing was submitted."""

    def close(self, stream: str) -> tuple[Segment, ...]:
        """Frees a stream and returns its segments (empty where the backend does not know tokens). Unknown
        streams give ()."""


class Model(Backend, Protocol):
    """A language model as a backend."""

    @property
    def weight_version(self) -> str | None:
        """Names the weights; None where they are not known."""


class Player(Protocol):
    """One agent in one game. `act` is called once a turn, with what its role may see."""

    def act(self, observation: Observation) -> Generator[Request, Reply, Reply]: ...

    def close(self) -> tuple[Segment, ...]:
        """Called once when the game has ended; returns what may be trained on."""


class Agent(Protocol):
    """Who plays. name: its specification, recorded with every episode. weight_version: None where there are
    no weights."""

    @property
    def name(self) -> str: ...

    @property
    def weight_version(self) -> str | None: ...

    def player(self, game: Game, role: str, key: str, seed: int) -> Player:
        """A player of one game. key: unique among all players in play (names the token stream). seed: its
        only source of randomness."""


def derive_seed(*parts: Any) -> int:
    """A 63-bit seed from parts (ints and strings), equal on every machine and in every process."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


AgentMap = Mapping[str, Agent]
"""Who plays which role."""
