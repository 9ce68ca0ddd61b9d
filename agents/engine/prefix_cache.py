"""Prefixes whose keys and values are kept, so that streams that begin alike compute what they share once: rules, and words in play.

Knows ids and blocks; knows nothing about models, text or sampling.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from .kv_cache import BLOCK, Pool, blocks_for

CHUNK = 4
"""Prefixes are compared at multiples of this many tokens."""
SHARE = 4
"""Kept prompts take at most one in SHARE blocks of the pool; the least recently used leaves first."""
REMEMBERED = 1 << 16
"""Prefixes of which it is remembered how many streams have begun so, the last ones asked for."""

Chain = tuple[int, ...]
"""Hashes of a sequence's first CHUNK ids, first 2 CHUNK, and so on."""


def chain(ids: Sequence[int], kind: str | None = None) -> Chain:
    """The hashes by which a beginning is found again. The last id is left out: it is always computed anew, for its logits.

    kind: what else keys and values depend on; prefixes of different kinds are different.
    """
    found = [hash(kind)]
    for stop in range(CHUNK, len(ids), CHUNK):
        found.append(hash((found[-1], *ids[stop - CHUNK : stop])))
    return tuple(found[1:])


@dataclass(eq=False)
class Prefix:
    """A cached prefix. ids: those whose keys and values `blocks` hold."""

    chain: Chain
    ids: tuple[int, ...]
    blocks: list[int]


class PrefixCache:
    """Cached prefixes over the blocks of a pool: what two streams at least have begun with, as most of a prompt may be one game's alone."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._asked: OrderedDict[int, int] = OrderedDict()
        self._kept: OrderedDict[Chain, Prefix] = OrderedDict()
        self._by_hash: dict[int, Prefix] = {}
        self._blocks = 0

    def find(self, ids: Sequence[int], hashes: Chain) -> tuple[Prefix | None, int]:
        """The prompt that shares the longest prefix with ids, and how many tokens of it; (None, 0) where none does."""
        for count in range(len(hashes), 0, -1):
            prefix = self._by_hash.get(hashes[count - 1])
            shared = count * CHUNK
            if prefix is not None and tuple(ids[:shared]) == prefix.ids[:shared]:
                self._kept.move_to_end(prefix.chain)
                return prefix, shared
        return None, 0

    def ask(self, hashes: Chain) -> None:
        """Counts a stream that begins so."""
        for name in hashes:
            self._asked[name] = self._asked.pop(name, 0) + 1
        while len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)

    def worth(self, hashes: Chain) -> Chain:
        """How much of a prompt would be kept: what another stream has begun with too, nothing where the pool is too small for it."""
        shared = hashes[: sum(self._asked.get(name, 0) > 1 for name in hashes)]
        return shared if blocks_for(len(shared) * CHUNK) <= self._pool.limit // SHARE else ()

    def add(self, ids: Sequence[int], hashes: Chain, own: Sequence[int] = ()) -> dict[int, int]:
        """Keeps what is worth it of a prompt: the blocks that its keys and values belong into by their place, none where it is kept already
        or the pool has no room. own: blocks that hold the prompt already; those that it fills are shared instead.
        """
        hashes = self.worth(hashes)
        need = blocks_for(len(hashes) * CHUNK)
        if not hashes or hashes[-1] in self._by_hash:
            return {}
        full = min(len(hashes) * CHUNK // BLOCK, len(own))
        while self._kept and (self._blocks + need > self._pool.limit // SHARE or self._pool.available() < need - full):
            self.forget_oldest()
        new = self._pool.allocate(need - full) if self._pool.available() >= need - full else None
        if new is None:
            return {}
        self._blocks += need
        prefix = Prefix(hashes, tuple(ids[: len(hashes) * CHUNK]), self._pool.incref(own[:full]) + new)
        self._kept[hashes] = prefix
        for name in hashes:
            self._by_hash.setdefault(name, prefix)
        return dict(enumerate(new, full))

    def forget_oldest(self) -> bool:
        """Gives up the prompt that was used least recently; False where none is kept."""
        if not self._kept:
            return False
        self._forget(next(iter(self._kept)))
        return True

    def _forget(self, hashes: Chain) -> None:
        prefix = self._kept.pop(hashes)
        self._pool.free(prefix.blocks)
        self._blocks -= len(prefix.blocks)
        for name in hashes:
            if self._by_hash.get(name) is prefix:
                del self._by_hash[name]
