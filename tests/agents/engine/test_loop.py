"""The generation loop against plain forward passes, for every architecture it is meant for."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import needs_compiler, tiny_model

from sparring.agents.core import Sampling
from sparring.agents.engine import kernels
from sparring.agents.engine.attention import PackedModel, Prefill, bucket
from sparring.agents.engine.loop import HFLoop, Stop
from sparring.agents.engine.sampling import filter_logits

KINDS = ["llama", "untied", "llama3", "qwen2", "qwen3", "gpt2", "mistral", "gemma2", "gemma3"]
END = 5
WIDTHS = [pytest.param(32, id="buckets"), pytest.param(64, id="blocks", marks=needs_compiler)]
"""Of a model: its heads have 8 or 16 numbers, which decides where rows are kept."""


def play(model, streams: int, turns: int, *, max_rows: int = 8, max_streams: int = 64, seed: int = 0, only: int | None = None, **options):
    """Several turns of many streams with prompts of different lengths; ids and log-probabilities by stream."""
    loop = HFLoop(model, end_ids=frozenset({END}), max_rows=max_rows, max_streams=max_streams, **options)
    rng = np.random.default_rng(seed)
    prompts = [[rng.integers(6, 400, rng.integers(3, 15)).tolist() for _ in range(turns)] for _ in range(streams)]
    logprobs: dict[str, list[float]] = {}
    sampled: dict[str, list[bool]] = {}
    for turn in range(turns):
        for i in range(streams):
            if only is None or i == only:
                sampled.setdefault(f"{i}", []).extend([False] * len(prompts[i][turn]))
                logprobs.setdefault(f"{i}", []).extend([0.0] * len(prompts[i][turn]))
                loop.submit(f"{i}", prompts[i][turn], Sampling(temperature=0.9, max_new_tokens=10), seed=1000 * turn + i)
        due = streams if only is None else 1
        while due:
            for done in loop.poll():
                due -= 1
                sampled[done.stream].extend([True] * len(done.ids))
                logprobs[done.stream].extend(done.logprobs.tolist())
    ids = {name: loop.ids(name) for name in logprobs}
    return loop, ids, logprobs, sampled


def off_by(model, ids, logprobs, sampled) -> float:
    """The largest difference from one plain forward pass over the same ids."""
    worst = 0.0
    for name, stream in ids.items():
        with torch.no_grad():
            ids_in = torch.tensor([stream], device=model.device)
            whole = (model(input_ids=ids_in).logits[0].float() / 0.9).log_softmax(-1)
        for at in np.flatnonzero(sampled[name]):
            worst = max(worst, abs(float(whole[at - 1, stream[at]]) - logprobs[name][at]))
    return worst


def all_come_back(loop: HFLoop) -> None:
    """Closes all streams; each block of the pool is free then, once."""
    for name in [stream.key for stream in loop._sequences]:
        loop.close(name)
    loop.invalidate()
    pool = loop._sequences.pool
    assert len(pool.free_blocks) == len(pool.data) == len(set(pool.free_blocks)) and not pool._sharing


@pytest.mark.parametrize("rows", [8, 16], ids=["refilled", "all at once"])
@pytest.mark.parametrize("kind", KINDS)
def test_logprobs_equal_a_plain_forward_pass(kind: str, rows: int):
    model = tiny_model(kind)
    _, ids, logprobs, sampled = play(model, streams=11, turns=5, max_rows=rows)
    assert off_by(model, ids, logprobs, sampled) < 1e-5


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
def test_the_compiled_part_says_the_same(kind: str, monkeypatch: pytest.MonkeyPatch):
    # Its heads are of 16 numbers and more.
    model = tiny_model(kind, **{"n_embd" if kind == "gpt2" else "hidden_size": 64})
    used: list[int] = []
    attend = kernels.attend
    monkeypatch.setattr(kernels, "attend", lambda *args: used.append(len(args[0])) or attend(*args))
    found = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    for compiled in (True, False):
        monkeypatch.setattr(kernels, "AVAILABLE", compiled)
        _, ids, logprobs, sampled = play(model, streams=11, turns=5)
        assert off_by(model, ids, logprobs, sampled) < 1e-5
        found.append((ids, len(used)))
    assert found[0][0] == found[1][0]
    assert (found[0][1] > 0) == (kind != "gemma2"), "capped scores are left to torch"
    assert len(used) == found[0][1]


@pytest.mark.parametrize("kind", ["llama", "untied", "qwen3", "gpt2", "mistral"])
def test_in_bfloat16_logprobs_stay_within_a_bound(kind: str):
    model = tiny_model(kind).to(torch.bfloat16)
    _, ids, logprobs, sampled = play(model, streams=11, turns=5)
    assert 1e-5 < off_by(model, ids, logprobs, sampled) < 0.05


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "compiler", "few"),
    [
        ("llama", "aot_eager", False),
        ("mistral", "aot_eager", True),
        pytest.param("gpt2", "inductor", True, marks=pytest.mark.full),
        pytest.param("qwen3", "inductor", False, marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_compiled_model_says_the_same(kind: str, compiler: str, few: bool, width: int):
    torch.compiler.reset()
    model = tiny_model(kind, **{"n_embd" if kind == "gpt2" else "hidden_size": width})
    passes = Counter[int]()
    whole = PackedModel._call

    def watched(self, forward, ids, positions, keep):
        passes[ids.shape[1] if forward is not self.model else 0] += 1
        return whole(self, forward, ids, positions, keep)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PackedModel, "_call", watched)
        patch.setattr(PackedModel, "few_lengths", few)
        _, ids, logprobs, sampled = play(model, streams=11, turns=3, compiler=compiler)
    assert passes.pop(0) == 1, "only the first pass, which learns the shapes, is not compiled"
    assert (set(passes) <= {64, 128, 192, 256}) == few
    assert off_by(model, ids, logprobs, sampled) < 1e-5
    assert ids == play(model, streams=11, turns=3)[1]


def test_buckets_are_few_and_fill_at_most_a_quarter_more():
    sizes = {bucket(tokens) for tokens in range(1, 8193)}
    assert len(sizes) == 24
    assert all(tokens <= bucket(tokens) < max(tokens + 64, 1.25 * tokens + 1) for tokens in range(1, 8193))
    assert bucket(64) == 64 and bucket(65) == 128


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_stream_does_not_depend_on_what_else_is_played(kind: str, width: int):
    model = tiny_model(kind, **{"n_embd" if kind == "gpt2" else "hidden_size": width})
    _, together, _, _ = play(model, streams=11, turns=3, seed=9)
    for only in (0, 7):
        loop, alone, _, _ = play(model, streams=11, turns=3, seed=9, only=only)
        assert loop.counters.near_ties == 0, "another seed is wanted: what follows a near-tie proves nothing"
        assert alone[f"{only}"] == together[f"{only}"]


NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
]
"""What torch raises on a GPU and on a CPU."""


@pytest.mark.parametrize("error", NO_MEMORY, ids=["GPU", "CPU"])
@pytest.mark.parametrize("width", WIDTHS)
def test_out_of_memory_halves_the_rows_and_changes_no_reply(width: int, error: Exception, monkeypatch: pytest.MonkeyPatch):
    model = tiny_model(hidden_size=width)
    _, roomy, _, _ = play(model, streams=9, turns=3)
    whole = PackedModel.forward

    def limited(self, ids, positions, keep, *rest):
        if len(keep) > 3:
            raise error
        return whole(self, ids, positions, keep, *rest)

    monkeypatch.setattr(PackedModel, "forward", limited)
    with pytest.warns(RuntimeWarning, match=r"out of memory: [42] replies at once from now on"):
        loop, tight, logprobs, sampled = play(model, streams=9, turns=3)
    assert loop.max_rows == 2
    assert tight == roomy
    assert off_by(model, tight, logprobs, sampled) < 1e-5
    loop = HFLoop(model, end_ids=frozenset(), max_rows=1)
    monkeypatch.setattr(PackedModel, "forward", lambda *_: (_ for _ in ()).throw(error))
    loop.submit("a", [7], Sampling(), 0)
    with pytest.raises(type(error)):
        loop.poll()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("where", ["stop", "pass"])
def test_a_step_that_breaks_off_leaves_nothing_behind(where: str, width: int, monkeypatch: pytest.MonkeyPatch):
    model = tiny_model(hidden_size=width)
    sampling = Sampling(max_new_tokens=8)
    prompts = {f"{i}": list(range(10 + i, 30 + i)) for i in range(4)}
    loop = HFLoop(model, end_ids=frozenset(), max_rows=3)
    steps = [0]
    whole = PackedModel.forward

    def interrupt(*given):
        steps[0] += 1
        if steps[0] in (1, 4, 9):
            raise KeyboardInterrupt
        return whole(*given) if where == "pass" else False

    if where == "pass":
        monkeypatch.setattr(PackedModel, "forward", interrupt)
    for i, (name, prompt) in enumerate(prompts.items()):
        loop.submit(name, prompt, sampling, i, stop=interrupt if where == "stop" else None)
    found: list[str] = []
    broken = 0
    while len(found) < 4:
        try:
            found += [done.stream for done in loop.poll()]
        except KeyboardInterrupt:
            broken += 1
    assert broken == 3 and sorted(found) == list(prompts)
    calm = HFLoop(model, end_ids=frozenset())
    for i, (name, prompt) in enumerate(prompts.items()):
        calm.submit(name, prompt, sampling, i)
    while calm.active or not calm.counters.sampled:
        calm.poll()
    assert {name: loop.ids(name) for name in prompts} == {name: calm.ids(name) for name in prompts}
    all_come_back(loop)


@needs_compiler
@pytest.mark.parametrize("change", ["bfloat16", "double"])
def test_a_model_that_is_another_kind_of_numbers_by_now_is_an_error(change: str):
    model = tiny_model(hidden_size=64)
    loop = HFLoop(model, end_ids=frozenset())
    getattr(model, change)()
    loop.submit("a", [7, 8, 9], Sampling(max_new_tokens=4), 0)
    with pytest.raises((TypeError, RuntimeError), match=r"float32|same dtype|expected"):
        loop.poll()


@pytest.mark.parametrize("how", ["in place", "others assigned"])
def test_changed_weights_invalidate_every_cache(how: str):
    model = tiny_model()
    loop = HFLoop(model, end_ids=frozenset({END}))
    loop.submit("a", [7, 8, 9], Sampling(max_new_tokens=5), seed=1)
    loop.poll()
    if how == "in place":
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.7)
    else:
        model.load_state_dict({name: 0.7 * value for name, value in model.state_dict().items()}, assign=True)
    loop.submit("a", [10, 11], Sampling(temperature=0.9, max_new_tokens=5), seed=2)
    (done,) = loop.poll()
    ids = loop.ids("a")
    with torch.no_grad():
        whole = (model(input_ids=torch.tensor([ids])).logits[0] / 0.9).log_softmax(-1)
    for back, logprob in enumerate(reversed(done.logprobs.tolist())):
        at = len(ids) - 1 - back
        assert float(whole[at - 1, ids[at]]) == pytest.approx(logprob, abs=1e-4)


def test_replies_end_by_end_token_or_length():
    model = tiny_model()
    loop = HFLoop(model, end_ids=frozenset(range(6, 400)))
    loop.submit("ends", [1, 2], Sampling(max_new_tokens=50), seed=0)
    (done,) = loop.poll()
    assert (done.finish, done.ended) == ("stop", True)
    loop = HFLoop(model, end_ids=frozenset())
    loop.submit("goes on", [1, 2], Sampling(max_new_tokens=4), seed=0)
    (done,) = loop.poll()
    assert (done.finish, done.ended, len(done.ids)) == ("length", False, 4)


def ask(model, sampling: Sampling, *, ends: Collection[int] = (), stop: Stop | None = None, n: int = 12):
    """Replies to one prompt by seed."""
    loop = HFLoop(model, end_ids=frozenset(ends))
    for seed in range(n):
        loop.submit(f"{seed}", [1, 2, 3], sampling, seed, stop=stop)
    done = []
    while len(done) < n:
        done += loop.poll()
    return sorted(done, key=lambda reply: int(reply.stream))


def test_each_of_several_end_tokens_ends_a_reply_but_not_before_the_least_length():
    model = tiny_model()
    ends = range(6, 413)
    free = ask(model, Sampling(max_new_tokens=30), ends=ends)
    assert len({int(reply.ids[-1]) for reply in free if reply.ended}) > 2
    assert min(len(reply.ids) for reply in free) < 4
    held = ask(model, Sampling(max_new_tokens=30, min_new_tokens=4), ends=ends)
    for reply in held:
        assert len(reply.ids) >= 4
        assert not set(reply.ids[:3].tolist()) & set(ends)
        # Until then the rest is a distribution of its own.
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[1, 2, 3]])).logits[0, -1]
        logits[list(ends)] = -torch.inf
        assert float(logits.log_softmax(-1)[reply.ids[0]]) == pytest.approx(float(reply.logprobs[0]), abs=1e-5)


def test_a_stop_condition_ends_a_reply_but_not_before_the_least_length():
    model = tiny_model()
    for least in (0, 5):
        for reply in ask(model, Sampling(max_new_tokens=9, min_new_tokens=least), stop=lambda said: said[-1] % 3 == 0):
            thirds = [place for place, token in enumerate(reply.ids.tolist(), 1) if token % 3 == 0 and place >= least]
            assert (len(reply.ids), reply.finish) == ((thirds[0], "stop") if thirds else (9, "length"))
            assert not reply.ended


@pytest.mark.parametrize("sampling", [{"top_k": 3}, {"top_p": 0.6}, {"min_p": 0.2}, {"top_k": 5, "top_p": 0.9, "temperature": 2.0}])
def test_filters_of_a_request_are_its_own(sampling: dict):
    model = tiny_model()
    loop = HFLoop(model, end_ids=frozenset())
    settings = Sampling(**sampling, max_new_tokens=1)
    for seed in range(40):
        loop.submit(f"{seed}", [1, 2, 3], settings if seed % 2 else Sampling(max_new_tokens=1), seed)
    replies = {int(reply.stream): reply for _ in range(2) for reply in loop.poll()}
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[1, 2, 3]])).logits[:, -1] / settings.temperature
    wanted = filter_logits(logits, *(torch.tensor([x]) for x in (settings.top_k, settings.top_p, settings.min_p)))[0].log_softmax(-1)[0]
    own = logits[0].mul(settings.temperature).log_softmax(-1)
    for seed, reply in replies.items():
        expected = (wanted if seed % 2 else own)[int(reply.ids[0])]
        assert float(expected) == pytest.approx(float(reply.logprobs[0]), abs=1e-5)
    assert len(replies) == 40


def test_long_prompts_attend_in_parts_and_apart_from_short_ones(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model("gemma2")
    whole = play(model, streams=7, turns=2)[1]
    widths: list[int] = []
    made = Prefill.mask

    def watched(self, window, dtype, groups, steps):
        mask = made(self, window, dtype, groups, steps)
        widths.append(mask.shape[2] // groups)
        return mask

    monkeypatch.setattr(Prefill, "mask", watched)
    monkeypatch.setattr("sparring.agents.engine.attention._WIDE", 4)
    loop, ids, logprobs, sampled = play(model, streams=7, turns=2)
    assert max(widths) == 4
    assert ids == whole
    assert off_by(model, ids, logprobs, sampled) < 1e-5
    monkeypatch.setattr("sparring.agents.engine.attention._WIDE", 1024)
    widths.clear()
    loop = HFLoop(model, end_ids=frozenset())
    for i in range(20):
        loop.submit(f"{i}", list(range(i, i + 4)), Sampling(max_new_tokens=1), 0)
    loop.submit("long", list(range(20)) * 10, Sampling(max_new_tokens=1), 0)
    parts: list[tuple[int, ...]] = []
    make = Prefill.__init__
    monkeypatch.setattr(
        Prefill,
        "__init__",
        lambda self, start, data, firsts, counts: parts.append(tuple(counts)) or make(self, start, data, firsts, counts),
    )
    loop.poll()
    assert sorted(parts) == [(4,) * 20, (200,)]


def test_one_token_is_computed_as_two(monkeypatch: pytest.MonkeyPatch):
    sizes = set()
    whole = PackedModel._call

    def watched(self, forward, ids, positions, keep):
        sizes.add((ids.shape[1], len(keep)))
        return whole(self, forward, ids, positions, keep)

    monkeypatch.setattr(PackedModel, "_call", watched)
    model = tiny_model()
    _, ids, logprobs, sampled = play(model, streams=1, turns=2)
    assert min(tokens for tokens, _ in sizes) == 2
    assert off_by(model, ids, logprobs, sampled) < 1e-5


@pytest.mark.parametrize("kind", ["lfm2", "falcon-h1", "qwen3-next"])
def test_models_that_would_mix_streams_are_refused(kind: str):
    with pytest.raises(ValueError, match="carry what was said from token to token"):
        HFLoop(tiny_model(kind), end_ids=frozenset())


def test_a_stream_ends_where_positions_would_depend_on_others():
    scaled = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
    model = tiny_model("llama", length=64, rope_parameters={**scaled, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4})
    assert HFLoop(model, end_ids=frozenset()).max_length == 16
    assert HFLoop(tiny_model("llama", length=64), end_ids=frozenset()).max_length == 64


def test_a_stream_ends_where_the_context_does():
    loop = HFLoop(tiny_model(length=16), end_ids=frozenset())
    loop.submit("a", list(range(1, 11)), Sampling(max_new_tokens=50), seed=0)
    (done,) = loop.poll()
    assert (done.finish, len(done.ids)) == ("length", 6)
    loop.submit("a", [1], Sampling(), seed=0)
    (done,) = loop.poll()
    assert (done.finish, len(done.ids)) == ("length", 0)


def test_greedy_takes_the_likeliest_token():
    model = tiny_model()
    loop = HFLoop(model, end_ids=frozenset())
    loop.submit("a", [1, 2, 3], Sampling(temperature=0, max_new_tokens=3), seed=0)
    (done,) = loop.poll()
    ids = [1, 2, 3]
    for token in done.ids.tolist():
        with torch.no_grad():
            assert int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()) == token
        ids.append(token)


def test_a_stream_cannot_be_asked_twice_at_once():
    loop = HFLoop(tiny_model(), end_ids=frozenset())
    loop.submit("a", [1], Sampling(max_new_tokens=2), seed=0)
    with pytest.raises(ValueError, match="still waits"):
        loop.submit("a", [1], Sampling(max_new_tokens=2), seed=0)
    loop.close("a")
    assert loop.poll() == []


def test_a_closed_stream_gives_no_reply_any_more():
    loop = HFLoop(tiny_model(length=4), end_ids=frozenset())
    loop.submit("full", [1, 2, 3, 4], Sampling(), seed=0)
    loop.submit("open", [1, 2, 3], Sampling(), seed=0)
    loop.close("full")
    assert [done.stream for done in loop.poll()] == ["open"]


def test_occupancy_is_the_share_of_places_that_drew():
    loop = HFLoop(tiny_model(), end_ids=frozenset())
    before = replace(loop.counters)
    assert loop.counters.occupancy(before, 4) == 0
    for name, tokens in (("a", 4), ("b", 2)):
        loop.submit(name, [7, 8, 9], Sampling(max_new_tokens=tokens), 0)
    while len(loop.poll()) + loop.active:
        pass
    assert loop.counters.occupancy(before, 4) == 6 / (4 * loop.counters.steps)
    assert loop.counters.steps in (4, 5), "b may wait a step for the beginning that a computes"
