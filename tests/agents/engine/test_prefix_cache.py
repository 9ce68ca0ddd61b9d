"""Cached prefixes: what is found, what leaves first, and that streams which share say what they would have said alone."""

import pytest
import torch
from tiny import tiny_model

from sparring.agents.core import Sampling
from sparring.agents.engine.kv_cache import BLOCK, Layout, Pool
from sparring.agents.engine.loop import HFLoop
from sparring.agents.engine.prefix_cache import CHUNK, SHARE, PrefixCache, chain

END = 5


def pool(blocks: int) -> Pool:
    return Pool(Layout(1, 1, 2, torch.float32, torch.device("cpu")), blocks)


def add(kept: PrefixCache, ids: list[int]) -> dict[int, int]:
    """Keeps a prompt that two streams have begun with."""
    for _ in range(2):
        kept.ask(chain(ids))
    return kept.add(ids, chain(ids))


def test_only_what_streams_share_is_kept():
    kept = PrefixCache(pool(100))
    rules = list(range(12))
    first, second = ([*rules, *range(start, start + 9)] for start in (100, 200))
    kept.ask(chain(first))
    assert kept.add(first, chain(first)) == {}, "nobody else has begun so"
    kept.ask(chain(second))
    assert kept.worth(chain(second)) == chain([*rules, 0])
    assert len(kept.add(second, chain(second))) == 1
    assert kept.find(first, chain(first))[1] == 12
    assert kept.find(second, chain(second))[1] == 12


def test_games_of_their_own_words_leave_nothing_behind():
    loop = HFLoop(tiny_model(), end_ids=frozenset({END}), max_streams=64)
    taken = []
    for i in range(60):
        loop.submit(f"{i}", [*range(10, 30), *((7 * i + j) % 90 + 300 for j in range(40))], Sampling(max_new_tokens=2), i)
        loop.poll()
        loop.close(f"{i}")
        taken.append(len(loop._sequences.pool.data) - len(loop._sequences.pool.free_blocks))
    assert len(set(taken[2:])) == 1, "the rules alone"


def test_the_longest_shared_beginning_is_found():
    kept = PrefixCache(pool(100))
    long, short = list(range(20)), [*range(8), 90, 91, 92, 93, 94]
    assert kept.find(long, chain(long)) == (None, 0)
    assert len(add(kept, long)) == 1
    source, shared = kept.find(short, chain(short))
    assert shared == 8
    assert source is not None
    assert source.ids[:8] == tuple(range(8))
    add(kept, short)
    assert kept.find([*short, 7], chain([*short, 7]))[1] == 12
    assert kept.find(long, chain(long))[1] == 16, "the last id is computed anew, so no more than 19 tokens could be shared"
    assert kept.find([1, *long], chain([1, *long])) == (None, 0)


def test_equal_hashes_of_other_ids_share_nothing():
    kept = PrefixCache(pool(100))
    ids = list(range(10))
    add(kept, ids)
    assert kept.find([50 + i for i in ids], chain(ids)) == (None, 0)


def test_what_was_used_least_recently_leaves_first_and_its_blocks_come_back():
    blocks = pool(3 * SHARE)
    kept = PrefixCache(blocks)
    prompts = [[100 * i + j for j in range(BLOCK + 1)] for i in range(4)]
    for prompt in prompts[:3]:
        assert len(add(kept, prompt)) == 1
    assert blocks.available() == 3 * SHARE - 3
    kept.find(prompts[0], chain(prompts[0]))
    assert len(add(kept, prompts[3])) == 1
    assert [kept.find(p, chain(p))[1] for p in prompts] == [BLOCK, 0, BLOCK, BLOCK]
    while kept.forget_oldest():
        pass
    assert blocks.available() == 3 * SHARE


def test_kept_prompts_take_a_share_of_the_pool_and_none_twice():
    blocks = pool(5 * SHARE)
    kept = PrefixCache(blocks)
    for i in range(20):
        prompt = [1000 + i] * (CHUNK + 1)
        add(kept, prompt)
        assert add(kept, prompt) == {}
        assert blocks.available() >= 5 * (SHARE - 1)
    long = list(range(6 * BLOCK))
    assert add(kept, long) == {}
    taken = blocks.allocate(blocks.available())
    assert add(kept, [7] * 9), "where streams hold all else, an older prompt gives way"
    blocks.free(taken)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
def test_streams_that_begin_alike_share_and_say_the_same(kind: str):
    model = tiny_model(kind)
    rules = [7 + i % 50 for i in range(21)]
    prompts = [[*rules, 200 + i % 3, 201, 202, 203, 204, 205] for i in range(9)] + [[300, 301]]

    def said(together: bool) -> tuple[HFLoop, dict[str, list[int]], list[float]]:
        loop = HFLoop(model, end_ids=frozenset({END}))
        logprobs = []
        for i, prompt in enumerate(prompts):
            if not together:
                loop = HFLoop(model, end_ids=frozenset({END}))
            loop.submit(f"{i}", prompt, Sampling(max_new_tokens=6), i)
            if not together:
                done = loop.poll()[0]
                ids[f"{i}"] = loop.ids(f"{i}")
                logprobs += done.logprobs.tolist()
        if together:
            replies: dict[str, list[float]] = {}
            while len(replies) < len(prompts):
                replies |= {done.stream: done.logprobs.tolist() for done in loop.poll()}
            logprobs = [value for i in range(len(prompts)) for value in replies[f"{i}"]]
        return loop, {f"{i}": loop.ids(f"{i}") for i in range(len(prompts))} if together else ids, logprobs

    ids: dict[str, list[int]] = {}
    loop, shared, logprobs = said(together=True)
    _, alone, expected = said(together=False)
    assert shared == alone
    assert logprobs == pytest.approx(expected, abs=1e-5)
    # The first computes all, the next two words' share the rules, the rest of each word share all that they can.
    assert loop.counters.shared == 2 * 20 + 6 * 24
    assert loop.counters.prefilled == sum(map(len, prompts)) - loop.counters.shared


def test_changed_weights_forget_beginnings():
    model = tiny_model()
    loop = HFLoop(model, end_ids=frozenset({END}))
    prompt = list(range(10, 30))
    for name in "abc":
        loop.submit(name, prompt, Sampling(max_new_tokens=2), 1)
        loop.poll()
    assert loop.counters.shared == 16
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    loop.submit("d", prompt, Sampling(max_new_tokens=2), 1)
    loop.poll()
    assert loop.counters.shared == 16
