"""Where rows and idle streams keep their keys and values: in blocks or in buckets, within a bound, shared where they begin alike."""

import functools

import numpy as np
import pytest
import torch
from test_loop import END, WIDTHS, all_come_back, off_by, play
from tiny import needs_compiler, tiny_model

from sparring.agents.core import Sampling
from sparring.agents.engine.kv_cache import Buckets, Layout, Pool
from sparring.agents.engine.loop import HFLoop
from sparring.agents.engine.rows import BlockBatch, BucketBatch


@pytest.mark.parametrize("width", WIDTHS)
def test_where_rows_are_kept(width: int):
    loop = HFLoop(tiny_model(hidden_size=width), end_ids=frozenset())
    assert isinstance(loop._batch, BucketBatch if width == 32 else BlockBatch)


@pytest.mark.parametrize("width", WIDTHS)
def test_evicted_streams_are_rebuilt_from_their_ids(width: int):
    model = tiny_model(hidden_size=width)
    _, roomy, _, _ = play(model, streams=20, turns=3)
    loop, tight, logprobs, sampled = play(model, streams=20, turns=3, max_rows=2, max_streams=1)
    assert loop.counters.preempted > 0
    assert len(loop._sequences.pool.data) <= loop._sequences.pool.limit <= (16 if width == 32 else 16 + 2 * 17)
    assert tight == roomy
    assert off_by(model, tight, logprobs, sampled) < 1e-5


def taken(loop: HFLoop) -> int:
    """Bytes of all caches at present."""
    buckets = sum(bucket.data.nbytes for bucket in loop._batch.buckets) if isinstance(loop._batch, BucketBatch) else 0
    return loop._sequences.pool.data.nbytes + buckets


@pytest.mark.parametrize("width", WIDTHS)
def test_caches_stay_within_the_bound(width: int):
    loop = HFLoop(tiny_model(length=256, hidden_size=width), end_ids=frozenset({END}), max_rows=40, max_streams=50)
    rng = np.random.default_rng(0)
    most = 0
    for i in range(120):
        loop.submit(f"{i}", rng.integers(6, 400, rng.integers(3, 120)).tolist(), Sampling(max_new_tokens=int(rng.integers(2, 100))), i)
    left = 120
    while left:
        left -= len(loop.poll())
        most = max(most, taken(loop))
    assert loop._sequences.pool.data.nbytes <= most <= loop.memory_bound()
    assert (loop._sequences.pool.data.nbytes < most) == (width == 32)
    loop.invalidate()
    assert taken(loop) < most, "new weights give memory back"


def test_buckets_share_their_memory():
    layout = Layout(1, 1, 2, torch.float32, torch.device("cpu"))
    buckets: Buckets[int] = Buckets(layout, 20 * 64)
    short, long = buckets.of(32), buckets.of(64)
    short.add(range(10))
    assert short.capacity == 20, "a quarter more and eight, as long as there is room"
    short.data[:] = torch.arange(20)[:, None, None, None]
    short.drop(range(6))
    assert short.rows == [6, 7, 8, 9] and short.capacity == 20
    long.add(range(15))
    assert long.capacity == 15 and short.capacity == 4, "beyond the limit nothing is kept that is not used"
    assert short.data[0, :, 0, 0, 0].tolist() == [6, 7, 8, 9] and not long.data.any()
    long.take(short, [1])
    assert long.rows[-1] == 7 and (long.data[:, 15, :, :32] == 7).all() and not long.data[:, 15, :, 32:].any()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_bound_on_memory_lowers_what_is_done_at_once_and_changes_no_reply(width: int):
    model = tiny_model(length=64, hidden_size=width)
    _, roomy, _, _ = play(model, streams=9, turns=2)
    loop = HFLoop(model, end_ids=frozenset())
    memory = 2 * loop.packed.layout.bytes_per_token * loop._extra_positions(2)
    loop, tight, _, _ = play(model, streams=9, turns=2, max_memory=memory)
    assert loop.max_rows == 2
    assert loop.memory_bound() <= memory
    assert tight == roomy
    with pytest.raises(ValueError, match=r"the 9\.31e-07 GiB for its caches hold no stream of 64 tokens; 0\.001 are the least"):
        HFLoop(model, end_ids=frozenset(), max_memory=1000)


@needs_compiler
def test_streams_that_outgrow_their_pool_lower_what_is_done_at_once_and_change_no_reply():
    model = tiny_model(length=256, hidden_size=64)
    _, roomy, _, _ = play(model, streams=9, turns=6)
    with pytest.warns(RuntimeWarning, match=r"out of memory: [421] replies at once from now on"):
        loop, tight, _, _ = play(model, streams=9, turns=6, pool_memory=1)
    assert tight == roomy
    assert loop.memory_bound() == 17 * 16 * loop.packed.layout.bytes_per_token, "17 blocks: a stream of 256, and one more"


def small_pool(self, whole, layout, limit):
    """A pool that begins with two blocks."""
    whole(self, layout, 2)
    self.limit = limit


def test_a_pool_that_cannot_grow_rebuilds_streams(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model()
    _, roomy, _, _ = play(model, streams=9, turns=3)
    make = Pool._make

    def limited(self, count):
        if count > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return make(self, count)

    monkeypatch.setattr(Pool, "__init__", functools.partialmethod(small_pool, Pool.__init__))
    monkeypatch.setattr(Pool, "_make", limited)
    loop, tight, logprobs, sampled = play(model, streams=9, turns=3)
    assert loop._sequences.pool.limit == 2
    assert tight == roomy
    assert off_by(model, tight, logprobs, sampled) < 1e-5


@needs_compiler
def test_beginnings_leave_where_rows_need_the_room():
    model = tiny_model(hidden_size=64)
    loop = HFLoop(model, end_ids=frozenset(), max_rows=8, max_streams=1)
    rng = np.random.default_rng(0)
    for i in range(5):
        rules = rng.integers(6, 400, 101).tolist()
        for j in range(2):
            loop.submit(f"{i}-{j}", [*rules, 7 + j], Sampling(max_new_tokens=2), i)
            loop.poll()
    kept = len(loop._sequences.prefix_cache._kept)
    assert kept == 5
    for i in range(8):
        loop.submit(f"{i}", rng.integers(6, 400, 200).tolist(), Sampling(max_new_tokens=56), i)
    done = loop.poll()
    assert len(done) == 8
    assert len(loop._sequences.prefix_cache._kept) < kept
    for reply in done:
        with torch.no_grad():
            whole = model(input_ids=torch.tensor([loop.ids(reply.stream)])).logits[0].log_softmax(-1)
        own = [float(whole[at - 1, loop.ids(reply.stream)[at]]) for at in range(200, 256)]
        assert reply.logprobs.tolist() == pytest.approx(own, abs=1e-5)
    all_come_back(loop)


@needs_compiler
def test_a_stream_that_is_closed_while_it_is_answered_gives_its_blocks_back():
    loop = HFLoop(tiny_model(hidden_size=64), end_ids=frozenset())
    loop.submit("a", list(range(10, 60)), Sampling(max_new_tokens=30), 0)
    loop.submit("b", list(range(10, 60)), Sampling(max_new_tokens=2), 0)
    assert [done.stream for done in loop.poll()] == ["b"]
    loop.close("a")
    assert loop.active == 0
    all_come_back(loop)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_beginning_that_many_share_is_the_same_for_each(width: int):
    """Streams that begin alike, go on unlike, and come back for more turns while others push their beginnings out."""
    model = tiny_model(hidden_size=width)
    rng = np.random.default_rng(0)
    rules = [rng.integers(6, 400, 45).tolist() for _ in range(3)]
    prompts = {f"{i}": [*rules[i % 3], *rng.integers(6, 400, 5).tolist()] for i in range(18)}
    found = []
    for options in ({"max_rows": 6, "max_streams": 64}, {"max_rows": 4, "max_streams": 2}, {"max_rows": 1, "max_streams": 1}):
        loop = HFLoop(model, end_ids=frozenset({END}), max_length=128, **options)
        for turn in range(2):
            for i, (name, prompt) in enumerate(prompts.items()):
                loop.submit(name, prompt if turn == 0 else [7 + i, 9], Sampling(max_new_tokens=12), 100 * turn + i)
            due = len(prompts)
            while due:
                due -= len(loop.poll())
        found.append({name: loop.ids(name) for name in prompts})
        assert (loop.counters.preempted > 0) == (options["max_streams"] < 64)
        assert (loop.counters.shared > 0) == (options["max_streams"] > 1)
        all_come_back(loop)
    assert found[0] == found[1] == found[2]


def test_streams_do_not_wait_for_a_beginning_that_cannot_be_kept():
    loop = HFLoop(tiny_model(), end_ids=frozenset(), max_length=80, max_streams=1)
    for i in range(10):
        loop.submit(f"{i}", [*range(7, 67), 100 + i], Sampling(max_new_tokens=2), i)
    while loop.counters.sampled < 20:
        loop.poll()
    assert loop.counters.steps == 2


def test_a_block_is_free_when_each_who_took_it_gave_it_back():
    pool = Pool(Layout(1, 1, 2, torch.float32, torch.device("cpu")), 4)
    one, two = pool.allocate(2) or ()
    assert pool.incref([one]) == pool.incref([one]) == [one]
    free = [pool.available()]
    for blocks in ([one, two], [one], [one]):
        pool.free(blocks)
        free.append(pool.available())
    assert free == [2, 3, 3, 4]
