"""The compiled part of generation against torch's own operations."""

import sysconfig
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import needs_compiler, tiny_model
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from sparring.agents.core import Sampling
from sparring.agents.engine import kernels
from sparring.agents.engine.attention import Decode, Prefill
from sparring.agents.engine.kv_cache import BLOCK, Layout, Pool
from sparring.agents.engine.loop import HFLoop


@pytest.fixture(autouse=True, scope="module")
def _threads():
    """Several, as in use: the tests' own one shows no race."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def caches(rows: int, heads: int, length: int, size: int) -> torch.Tensor:
    """Of two layers."""
    return torch.randn(4, rows, heads, length, size, generator=torch.Generator().manual_seed(0))


def packed(tokens: int, heads: int, groups: int, size: int) -> list[torch.Tensor]:
    """Queries, keys and values, as models hand them over: heads before tokens, seen the other way round."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, tokens, size, generator=generator).transpose(0, 1) for n in (heads * groups, heads, heads)]


def in_blocks(data: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same caches in blocks that lie in any order, among others: tables and blocks."""
    x, rows, heads, length, size = data.shape
    numbers = torch.randperm(rows * length // BLOCK + 3, generator=torch.Generator().manual_seed(2))[3:].view(rows, -1)
    blocks = torch.full((int(numbers.max()) + 1, x, heads, BLOCK * size), torch.nan, dtype=data.dtype)
    blocks[numbers.flatten()] = data.view(x, rows, heads, -1, BLOCK * size).permute(1, 3, 0, 2, 4).flatten(0, 1)
    return numbers, blocks


def dense(numbers: torch.Tensor, blocks: torch.Tensor, size: int) -> torch.Tensor:
    """The reverse of `in_blocks`."""
    rows, x, heads = len(numbers), *blocks.shape[1:3]
    return blocks[numbers.flatten()].view(rows, -1, x, heads, BLOCK, size).permute(2, 0, 3, 1, 4, 5).reshape(x, rows, heads, -1, size)


def lines(firsts: list[int], counts: list[int]) -> torch.Tensor:
    """What `kernels.attend` is told of rows whose tokens are packed one row after the other."""
    places = np.cumsum([0, *counts[:-1]]).tolist()
    return torch.tensor([[row, first, place, count] for row, (first, place, count) in enumerate(zip(firsts, places, counts, strict=True))])


def attended(data: torch.Tensor, firsts: list[int], counts: list[int], groups: int, window: int | None):
    """What our kernel and torch's operations in twice the precision make of the same rows: outputs and caches of both. Where caches are in
    bfloat16, new keys and values are such numbers too."""
    q, k, v = packed(sum(counts), data.shape[2], groups, data.shape[4])
    k, v = (x.to(data.dtype).float() for x in (k, v))
    out = torch.full_like(q, torch.nan, memory_format=torch.contiguous_format)
    numbers, blocks = in_blocks(data)
    kernels.attend(q, k, v, out, lines(firsts, counts), numbers, blocks, 1, window, 0.3)
    cache, wanted = data.double(), out.double()
    one = all(count == 1 for count in counts)
    part = Decode(0, cache, torch.tensor(firsts)) if one else Prefill(0, cache, firsts, counts)
    part.attend(1, *(x.double() for x in (q, k, v)), wanted, window, scale=0.3, softcap=None, sinks=None)
    return (out, dense(numbers, blocks, data.shape[4]).float()), (wanted.float(), cache.float())


@needs_compiler
def test_it_was_compiled():
    assert kernels.AVAILABLE, "a compiler is here, so installation should have built agents/engine/*.cpp: make install"


@needs_compiler
@pytest.mark.parametrize("size", [16, 32, 48, 64, 128, 256])
@pytest.mark.parametrize("groups", [1, 2, 5])
@pytest.mark.parametrize("window", [None, 7])
def test_rows_attend_as_they_should(size: int, groups: int, window: int | None):
    data = caches(5, 2, 64, size)
    for firsts, counts in (([0, 15, 16, 40, 63], [1] * 5), ([0, 3, 16, 40, 31], [17, 2, 16, 24, 33])):
        (out, cache), (wanted, filled) = attended(data, firsts, counts, groups, window)
        torch.testing.assert_close(out, wanted, atol=3e-6, rtol=1e-5)
        assert torch.equal(cache, filled), "the same cells of the cache are written, and no others"


@needs_compiler
@pytest.mark.parametrize("size", [16, 48, 64, 256])
@pytest.mark.parametrize("window", [None, 7, 50])
def test_caches_in_bfloat16_are_read_and_written(size: int, window: int | None):
    data = caches(3, 2, 128, size).bfloat16()
    for firsts, counts in (([0, 100, 127], [1, 1, 1]), ([0, 70, 17], [128, 3, 20])):
        (found, kept), (wanted, cached) = attended(data, firsts, counts, 3, window)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
        assert torch.equal(kept, cached)


@needs_compiler
@pytest.mark.parametrize("size", [48, 80, 128])
@pytest.mark.parametrize("window", [None, 100])
def test_long_rows_attend_piece_by_piece(size: int, window: int | None):
    (out, cache), (wanted, filled) = attended(caches(3, 2, 512, size), [0, 470, 150], [200, 9, 1], 5, window)
    torch.testing.assert_close(out, wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(cache, filled)


@needs_compiler
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 24)), min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 20))
def test_any_rows_attend_as_they_should(rows: list[tuple[int, int]], heads: int, window: int):
    data = caches(len(rows), heads, 64, 32)
    (out, cache), (wanted, filled) = attended(data, [first for first, _ in rows], [count for _, count in rows], 2, window or None)
    torch.testing.assert_close(out, wanted, atol=3e-6, rtol=1e-5)
    assert torch.equal(cache, filled)


@needs_compiler
def test_a_row_does_not_depend_on_the_others():
    firsts, counts = [30, 3, 5], [4, 20, 1]
    q, k, v = packed(sum(counts), 2, 2, 32)
    found = []
    for rows, tokens in ((3, 25), (1, 4)):
        (numbers, blocks), out = in_blocks(caches(3, 2, 64, 32)), torch.empty(tokens, 4, 32)
        kernels.attend(q[:tokens], k[:tokens], v[:tokens], out, lines(firsts[:rows], counts[:rows]), numbers, blocks, 0, None, 1.0)
        found.append(out[:4])
    assert torch.equal(*found)


@needs_compiler
def test_scores_far_apart_neither_overflow_nor_vanish():
    data = torch.zeros(2, 1, 1, 32, 16)
    data[0, 0, 0, :3, 0] = torch.tensor([1000.0, -1000.0, 999.0])
    data[1, 0, 0, :3, 0] = torch.tensor([1.0, 5.0, 3.0])
    q = torch.zeros(1, 1, 16)
    q[..., 0] = 1
    new = torch.zeros(1, 1, 16)
    out = torch.empty(1, 1, 16)
    kernels.attend(q, new, new, out, lines([3], [1]), *in_blocks(data), 0, None, 1.0)
    e = torch.tensor(-1.0).exp()
    assert float(out[0, 0, 0]) == pytest.approx(float((1 + 3 * e) / (1 + e)), rel=1e-6)


@needs_compiler
def test_numbers_of_a_head_may_lie_apart():
    data, (q, k, v) = caches(1, 2, 64, 32), packed(4, 2, 2, 32)
    found = []
    for apart in (False, True):
        out = torch.empty(4, 4, 32)
        given = [x.transpose(1, 2).contiguous().transpose(1, 2) if apart else x for x in (q, k, v)]
        assert (given[0].stride(-1) != 1) == apart
        kernels.attend(*given, out, lines([7], [4]), *in_blocks(data), 0, None, 1.0)
        found.append(out)
    assert torch.equal(*found)


@needs_compiler
def test_what_is_no_number_stays_none():
    data = caches(2, 1, 32, 16)
    data[2, 0, 0, 4, 3] = torch.nan
    (out, _), _ = attended(data, [9, 9], [1, 1], 1, None)
    assert out[0].isnan().all()
    assert not out[1].isnan().any()


@needs_compiler
def test_what_is_behind_a_token_is_never_read():
    data = caches(1, 1, 32, 16)
    data[..., 10:, :] = torch.nan
    (out, _), _ = attended(data, [9], [1], 1, None)
    assert not out.isnan().any()


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_compiler), False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_copies_go_where_they_are_told(compiled: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "AVAILABLE", compiled)
    source, to = torch.arange(48).view(6, 8).to(dtype), torch.zeros(4, 8, dtype=dtype)
    kernels.copy(to, torch.tensor([3, 0]), source, torch.tensor([1, 5]))
    assert to.tolist() == [list(range(40, 48)), [0] * 8, [0] * 8, list(range(8, 16))]


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_compiler), False])
def test_of_a_block_that_is_named_twice_the_last_counts(compiled: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "AVAILABLE", compiled)
    layout = Layout(2, 2, 64, torch.float32, torch.device("cpu"))
    pool, dense = Pool(layout, 64), layout.empty(40, 32)
    for _ in range(20):
        dense.normal_()
        pool.save([*range(20), *range(20)], dense, range(40), [0] * 20 + [1] * 20)
        expected = dense[:, 20:, :, 16:].transpose(0, 1).flatten(-2)
        assert torch.equal(pool.data[:20], expected)


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_compiler), False])
def test_blocks_are_copied_within_the_pool_and_the_last_one_counts(compiled: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "AVAILABLE", compiled)
    pool = Pool(Layout(2, 2, 16, torch.float32, torch.device("cpu")), 6)
    pool.data.normal_()
    before = pool.data.clone()
    pool.copy([0, 1, 0, 5], [2, 3, 4, 2])
    assert torch.equal(pool.data, before[[0, 1, 5, 1, 0, 5]])


@needs_compiler
def test_beginnings_that_push_each_other_out_of_the_cache_are_right():
    model = tiny_model("llama", hidden_size=64)
    loop = HFLoop(model, end_ids=frozenset(), max_rows=12, max_streams=2)
    for turn in range(4):
        for i in range(3):
            prompt = [6 + (37 * i + 11 * at) % 390 for at in range(100)]
            loop.submit(f"{turn}-{i}", [*prompt, 7 + turn], Sampling(max_new_tokens=4), seed=turn)
    due = 12
    while due:
        for done in loop.poll():
            due -= 1
            ids = loop.ids(done.stream)
            with torch.no_grad():
                whole = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            own = [float(whole[at - 1, ids[at]]) for at in range(101, len(ids))]
            assert done.logprobs.tolist() == pytest.approx(own, abs=1e-5)


@needs_compiler
@pytest.mark.parametrize("shape", [(1, 16), (3, 5, 48), (700, 128), (0, 32)])
def test_norms_gates_and_turns_are_those_of_torch(shape: tuple[int, ...]):
    generator = torch.Generator().manual_seed(0)
    x, y = (20 * torch.randn(*shape, generator=generator) for _ in range(2))
    weight = torch.randn(shape[-1], generator=generator)
    wanted = torch.nn.functional.rms_norm(x.double(), shape[-1:], weight.double(), 1e-3)
    torch.testing.assert_close(kernels.norm(x, weight, 1e-3).double(), wanted, atol=1e-6, rtol=1e-6)
    wanted = torch.nn.functional.silu(x.double()) * y.double()
    torch.testing.assert_close(kernels.gate(x, y).double(), wanted, atol=1e-6, rtol=1e-6)


@needs_compiler
@pytest.mark.parametrize(("heads", "tokens", "size"), [(1, 1, 32), (3, 5, 96), (8, 200, 64)])
@pytest.mark.parametrize("apart", [False, True])
def test_turns_are_those_of_transformers(heads: int, tokens: int, size: int, apart: bool):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, heads, size, generator=generator).transpose(0, 1)
    x = x.transpose(1, 2).contiguous().transpose(1, 2) if apart else x
    cosines, sines = (torch.randn(tokens, size, generator=generator) for _ in range(2))
    wanted, _ = apply_rotary_pos_emb(x[None], x[None], cosines[None], sines[None])
    torch.testing.assert_close(kernels.rotate(x, cosines, sines), wanted[0], atol=1e-6, rtol=1e-6)


@needs_compiler
def test_what_is_no_number_stays_none_in_norms_and_gates():
    x = torch.zeros(3, 16)
    x[0, 3], x[1, 3], x[2, 3] = torch.nan, torch.inf, -torch.inf
    assert kernels.norm(x, torch.ones(16), 1e-6)[0].isnan().all()
    gated = kernels.gate(x, torch.ones(3, 16))[:, 3]
    assert gated[0].isnan() and gated[1] == torch.inf and gated[2].isnan(), "as torch's own"
    assert kernels.gate(torch.full((1, 16), -200.0), torch.ones(1, 16)).abs().max() == 0


@pytest.mark.parametrize(
    ("like", "fits"),
    [
        (torch.zeros(1, 32), True),
        (torch.zeros(1, 40), False),
        (torch.zeros(1, 512), False),
        (torch.zeros(1, 32, dtype=torch.bfloat16), False),
        (torch.zeros(1, 32, device="meta"), False),
    ],
)
def test_only_what_the_kernel_knows_is_given_to_it(like: torch.Tensor, fits: bool):
    assert kernels.can_attend(like) == (fits and kernels.AVAILABLE)
    assert kernels.can_attend(torch.zeros(1, 32), like) == (fits and kernels.AVAILABLE), "every one of them"


@needs_compiler
def test_small_work_is_for_one_thread_while_cores_are_short_and_comes_out_the_same(monkeypatch: pytest.MonkeyPatch):
    generator = torch.Generator().manual_seed(3)
    x, y, heads = (torch.randn(n, 256, 96, generator=generator) for n in (1, 1, 5))
    logits, u = torch.randn(256, 500, generator=generator), torch.rand(256, generator=generator)
    places = torch.randperm(256, generator=generator)

    def results() -> list[torch.Tensor]:
        copied = torch.zeros(256, 96)
        kernels.copy(copied, places, x[0], places.flip(0))
        return [
            kernels.norm(x, y[0, 0], 1e-6),
            kernels.gate(x, y),
            kernels.rotate(heads, x[0], y[0]),
            *kernels.draw(logits, u, 1e-6),
            copied,
        ]

    free = results()
    assert kernels._threads(1) == 4
    short = threading.Event()
    short.set()
    monkeypatch.setattr(kernels, "crowded", short)
    assert (kernels._threads(kernels.SMALL - 1), kernels._threads(kernels.SMALL)) == (1, 4)
    assert all(torch.equal(one, other) for one, other in zip(free, results(), strict=True))


@needs_compiler
def test_a_row_without_room_and_a_block_that_is_not_there_are_errors():
    (numbers, blocks), (q, k, v) = in_blocks(caches(1, 2, 32, 16)), packed(2, 2, 1, 16)
    before = blocks.clone()
    with pytest.raises(IndexError, match="no room"):
        kernels.attend(q, k, v, torch.empty(2, 2, 16), lines([31], [2]), numbers, blocks, 0, None, 1.0)
    for wrong in (-1, len(blocks)):
        numbers[0, 1] = wrong
        with pytest.raises(IndexError, match="a block that is not there"):
            kernels.attend(q, k, v, torch.empty(2, 2, 16), lines([16], [2]), numbers, blocks, 0, None, 1.0)
    assert torch.equal(blocks.nan_to_num(), before.nan_to_num())


@needs_compiler
def test_a_library_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    built = Path(kernels.__file__).with_name(f"_kernels{sysconfig.get_config_var('EXT_SUFFIX')}")
    assert kernels.load(built) is not None
    monkeypatch.setattr(kernels, "VERSION", -1)
    with pytest.warns(RuntimeWarning, match="other versions of its sources; install the package again"):
        assert kernels.load(built) is None
    (tmp_path / "no.so").write_bytes(b"no library")
    with pytest.warns(RuntimeWarning, match=r"without no\.so and is slower"):
        assert kernels.load(tmp_path / "no.so") is None
    assert kernels.load(tmp_path / "none.so") is None
