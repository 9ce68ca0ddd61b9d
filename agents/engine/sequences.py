"""Streams of ids, replies in the making, and where the keys and values of what a stream holds so far are: blocks of one pool, which the
least recently used give up first.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core import Sampling
from .kv_cache import Pool, blocks_for
from .prefix_cache import Chain, Prefix, PrefixCache

Stop = Callable[[Sequence[int]], bool]


@dataclass(eq=False)
class TokenSequence:
    """ids: all of the stream. blocks: where the keys and values of its first `stored` ids are. prefix_hashes: the hashes of its first
    prompt. adapter: what all of it goes through.
    """

    key: str
    adapter: str | None = None
    ids: list[int] = field(default_factory=list)
    prefix_hashes: Chain = ()
    blocks: list[int] = field(default_factory=list)
    stored: int = 0
    reply: "PendingReply | None" = None

    @property
    def new(self) -> int:
        """Ids whose keys and values have yet to be computed."""
        return len(self.ids) - self.stored


@dataclass(eq=False)
class PendingReply:
    """A reply in the making. number: in the order of submission. asked: how many ids its stream had then. slot: its row in the tables of
    replies, below 0 while it waits. base: position of its next token minus the number of the step. source: the prompt that its stream takes
    its prefix from. fresh: nothing of its stream was cached.
    """

    sequence: TokenSequence
    sampling: Sampling
    seed: int
    limit: int
    stop: Stop | None
    tag: Any
    number: int
    asked: int
    slot: int = -1
    base: int = 0
    source: Prefix | None = None
    fresh: bool = False


class Sequences:
    """All streams by key, their caches, and the prefixes that are kept for others. preempted: how many sequences have lost theirs."""

    def __init__(self, pool: Pool) -> None:
        self._by_key: OrderedDict[str, TokenSequence] = OrderedDict()
        self.preempted = 0
        self.renew(pool)

    def renew(self, pool: Pool) -> None:
        """Begins anew with an empty pool."""
        for sequence in self:
            sequence.blocks, sequence.stored = [], 0
        self.pool = pool
        self.prefix_cache = PrefixCache(pool)

    def __iter__(self) -> Iterator[TokenSequence]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def __getitem__(self, key: str) -> TokenSequence:
        return self._by_key[key]

    def get(self, key: str, adapter: str | None) -> TokenSequence:
        """The stream of this key, made on first use."""
        return self._by_key.setdefault(key, TokenSequence(key, adapter))

    def pop(self, key: str) -> TokenSequence | None:
        """Forgets a stream and what is cached of it."""
        sequence = self._by_key.pop(key, None)
        if sequence is not None:
            self.drop(sequence)
        return sequence

    def drop(self, sequence: TokenSequence) -> None:
        """Gives up what is cached of a stream: it is rebuilt from its ids when it is next used."""
        self.pool.free(sequence.blocks)
        sequence.blocks, sequence.stored = [], 0

    def used(self, sequence: TokenSequence) -> None:
        """From now on it is the most recently used."""
        self._by_key.move_to_end(sequence.key)

    def allocate(self, sequence: TokenSequence, positions: int) -> bool:
        """Gives a stream blocks for its first `positions`, where need be those of others, the least recently used first: of idle streams,
        then of those that wait for their reply to begin. False where even so there are too few.
        """
        need = blocks_for(positions) - len(sequence.blocks)
        if need <= 0:
            return True
        if self.pool.available() < need:
            others = [other for other in self if other.blocks and other is not sequence]
            cached = [other for other in others if other.reply is None]
            waiting = [other for other in others if other.reply is not None and other.reply.slot < 0]
            for other in [*cached, *waiting]:
                self.drop(other)
                self.preempted += 1
                if self.pool.available() >= need:
                    break
            else:
                return False
        new = self.pool.allocate(need)
        sequence.blocks.extend(new or ())
        return new is not None
