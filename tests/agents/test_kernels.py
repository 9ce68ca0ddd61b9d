"""The compiled part of generation against torch's own operations."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import needs_compiler

from sparring.agents import kernels
from sparring.agents.hfattention import Decode, Prefill


def caches(rows: int, heads: int, length: int, size: int) -> torch.Tensor:
    """Of two layers."""
    return torch.randn(4, rows, heads, length, size, generator=torch.Generator().manual_seed(0))


def packed(tokens: int, heads: int, groups: int, size: int) -> list[torch.Tensor]:
    """Queries, keys and values, as models hand them over: heads before tokens, seen the other way round."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, tokens, size, generator=generator).transpose(0, 1) for n in (heads * groups, heads, heads)]


def attended(data: torch.Tensor, firsts: list[int], counts: list[int], groups: int, window: int | None):
    """What our kernel and torch's operations in twice the precision make of the same rows: outputs and caches of both."""
    q, k, v = packed(sum(counts), data.shape[2], groups, data.shape[4])
    found = []
    for dtype in (torch.float32, torch.float64):
        cache, out = data.to(dtype, copy=True), torch.full_like(q, torch.nan, dtype=dtype, memory_format=torch.contiguous_format)
        one = all(count == 1 for count in counts)
        part = Decode(0, cache, torch.tensor(firsts)) if one else Prefill(0, cache, firsts, counts)
        if dtype == torch.float32:
            kernels.attend(q, k, v, out, part.table(), data.shape[3], 1, window, 0.3)
        else:
            part.attend(1, *(x.double() for x in (q, k, v)), out, window, scale=0.3, softcap=None, sinks=None)
        found.append((out.float(), cache.float()))
    return found


@needs_compiler
def test_it_was_compiled():
    assert kernels.AVAILABLE, "a compiler is here, so installation should have built agents/kernels.cpp: make install"


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
        data, out = caches(3, 2, 64, 32)[:, :rows].contiguous(), torch.empty(tokens, 4, 32)
        table = Prefill(0, data, firsts[:rows], counts[:rows]).table()
        kernels.attend(q[:tokens], k[:tokens], v[:tokens], out, table, 64, 0, None, 1.0)
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
    kernels.attend(q, new, new, out, kernels.table_of(data, [3], [0], [1]), 32, 0, None, 1.0)
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
        kernels.attend(*given, out, Prefill(0, data.clone(), [7], [4]).table(), 64, 0, None, 1.0)
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


def test_the_library_is_built_from_what_is_here():
    built = list((Path(kernels.__file__).parent).glob("_kernels.*"))
    assert len(built) == int(kernels.AVAILABLE)
