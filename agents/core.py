"""The vocabulary of playing: sampling, requests, replies, token segments, agents and backends.

An agent makes a player for each game. On its turn the player's `act` runs as a coroutine: it *yields*
requests to language models, is sent their replies, and finally returns its own reply. A scheduler
(`sparring.agents.rollout`) collects the requests of many games and hands them to each backend in batches. So
workflows (reflection, search, vote) can nest, and no game waits for the slowest one.
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
"""Why a reply ended. stop: an end token or stop string; length: the length limit; error: the infrastructure
failed. Recorded when it happens, never inferred from the last id."""

MOST_TOKENS = 10_000_000
"""More tokens than any model samples for one reply; a larger count is an error."""


@dataclass(frozen=True)
class Sampling:
    """How to draw tokens. temperature 0 is greedy. top_k 0, top_p 1 and min_p 0 switch these filters off.
    Before min_new_tokens neither an end token nor a stop string ends a reply. Raises ValueError for values
    out of range and for an empty stop string."""

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
        """True if stored log-probabilities are those of the model's full distribution at this temperature (no
        filter, not greedy)."""
        filtered = self.top_k > 0 or self.top_p < 1 or self.min_p > 0 or self.min_new_tokens > 0
        return self.temperature > 0 and not filtered


@dataclass(frozen=True)
class Request:
    """Append `messages` to `stream` and sample a reply; `messages` are only those that are new to the stream.

    seed: determines the sampled tokens, independent of the rest of the batch. turn: the game turn of the
    reply. trainable: whether the reply's tokens get loss_mask True. adapter: the LoRA adapter that answers,
    if any.
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
    """A reply. text: the public utterance. private: thinking, which neither judge nor opponent sees. tokens:
    number of sampled tokens."""

    text: str
    private: str = ""
    finish: Finish = "stop"
    tokens: int = 0


@dataclass(frozen=True)
class TurnSpan:
    """Positions [start, end) of one sampled reply in its segment, including its end token if one was
    sampled."""

    turn: int
    start: int
    end: int
    finish: Finish


@dataclass(frozen=True)
class Segment:
    """A part of one role's token stream with everything that training needs. It is recorded while sampling;
    text is never tokenised again.

    ids: int64 [n]. loss_mask: bool [n], True where the agent sampled the token and it may be trained on
    (False: rules, opponent, separators, an end token that was appended to a truncated reply). logprobs:
    float32 [n], the sampler's log-probability at `temperature` where loss_mask is True, else 0.
    weight_version: the weights that sampled. adapter: the LoRA adapter, if any.
    """

    ids: NDArray[np.int64]
    loss_mask: NDArray[np.bool_]
    logprobs: NDArray[np.float32]
    turns: tuple[TurnSpan, ...]
    temperature: float
    weight_version: str
    adapter: str | None = None


class Backend(Protocol):
    """Answers requests in batches: a generation loop in this process, or a server."""

    name: str

    def submit(self, request: Request) -> None: ...

    def poll(self) -> list[tuple[Request, Reply]]:
        """Works until at least one reply is finished and returns the finished ones; empty only when nothing
        was submitted."""

    def close(self, stream: str) -> tuple[Segment, ...]:
        """Frees a stream and returns its segments; () for unknown streams, and always for backends without
        token ids."""


class Model(Backend, Protocol):
    """A language model as a backend."""

    @property
    def weight_version(self) -> str | None:
        """Identifies the weights; None where they are unknown."""


class Player(Protocol):
    """One agent in one game. `act` is called once per turn, with what the role may see."""

    def act(self, observation: Observation) -> Generator[Request, Reply, Reply]: ...

    def close(self) -> tuple[Segment, ...]:
        """Called once when the game has ended; returns the segments to train on."""


class Agent(Protocol):
    """A kind of player. name: its specification, recorded with every episode. weight_version: None for agents
    without weights."""

    @property
    def name(self) -> str: ...

    @property
    def weight_version(self) -> str | None: ...

    def player(self, game: Game, role: str, key: str, seed: int) -> Player:
        """A player of one game. key: unique among all players in play; it names the token stream. seed: the
        player's only source of randomness."""


def derive_seed(*parts: Any) -> int:
    """A 63-bit seed derived from ints and strings, equal on every machine and in every process."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


AgentMap = Mapping[str, Agent]
"""The agent of each role."""
