"""Drawing tokens: the right distribution, the right filters, no dependence on neighbours."""

import numpy as np
import pytest
import torch
from tiny import needs_compiler

from sparring.agents.core import Sampling
from sparring.agents.engine import kernels
from sparring.agents.engine.sampling import NEAR, Settings, draw, filter_logits, uniform


def many(logits: torch.Tensor, sampling: Sampling, n: int = 20_000) -> np.ndarray:
    u = uniform(torch.arange(n), torch.zeros(n, dtype=torch.int64))
    ids = draw(logits.expand(n, -1), u, Settings.of([sampling] * n)).ids
    return np.bincount(ids.numpy(), minlength=logits.shape[-1]) / n


@pytest.fixture(params=[pytest.param(True, marks=needs_compiler, id="compiled"), pytest.param(False, id="by torch")], autouse=True)
def _compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "AVAILABLE", request.param)


@needs_compiler
@pytest.mark.parametrize("vocabulary", [1, 2, 16, 17, 255, 256, 257, 1792, 5000])
@pytest.mark.parametrize("spread", [0.1, 5.0, 60.0])
def test_the_compiled_part_draws_the_same(vocabulary: int, spread: float):
    logits = spread * torch.randn(300, vocabulary, generator=torch.Generator().manual_seed(0))
    logits[::3, ::2] = -torch.inf
    logits[:, -1] = 0.0
    u = uniform(torch.arange(300), torch.zeros(300, dtype=torch.int64))
    u[:2], u[2:4] = 2.0**-24, 1 - 2.0**-24
    ids, logprobs, tied = kernels.draw(logits, u, NEAR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "AVAILABLE", False)
        wanted = draw(logits, u, Settings.of([Sampling()] * 300))
    clear = ~wanted.near & ~tied
    assert clear.sum() > 200 or vocabulary == 1
    assert torch.equal(ids[clear], wanted.ids[clear])
    own = logits.log_softmax(-1).gather(1, ids[:, None])[:, 0]
    torch.testing.assert_close(logprobs, own, atol=2e-5, rtol=1e-6)
    assert (wanted.near != tied).sum() <= 3, "only rounding tips what is near"


@needs_compiler
@pytest.mark.parametrize("vocabulary", [40, 1000])
def test_what_cannot_be_is_never_drawn(vocabulary: int):
    logits = torch.full((2000, vocabulary), -torch.inf)
    logits[:, 3:23] = torch.randn(2000, 20, generator=torch.Generator().manual_seed(0))
    u = torch.linspace(1 - 2.0**-20, 1 - 2.0**-24, 2000)
    u[:500] = torch.linspace(2.0**-24, 2.0**-20, 500)
    ids, logprobs, tied = kernels.draw(logits, u, NEAR)
    assert ids.min() >= 3 and ids.max() < 23 and logprobs.isfinite().all() and tied[500:].all()


@needs_compiler
def test_rows_are_drawn_alone():
    logits = torch.randn(64, 3000, generator=torch.Generator().manual_seed(0))
    u = uniform(torch.arange(64), torch.zeros(64, dtype=torch.int64))
    whole = kernels.draw(logits, u, NEAR)
    for i in (0, 17, 63):
        alone = kernels.draw(logits[i : i + 1], u[i : i + 1], NEAR)
        assert all(torch.equal(one[0], all_[i]) for one, all_ in zip(alone, whole, strict=True))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_they_should(temperature: float):
    logits = torch.tensor([[0.0, 1.0, -1.0, 0.5]])
    expected = (logits[0] / temperature).softmax(-1).numpy()
    assert many(logits, Sampling(temperature=temperature)) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"temperature": np.nan}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"min_p": np.nan}]
)
def test_what_is_no_distribution_is_refused(wrong: dict):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be|{next(iter(wrong))} in"):
        Sampling(**wrong)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_logits_that_are_no_numbers_break_their_own_row_alone(broken: float):
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, broken, 2.0], [0.0, broken, 2.0], [0.0, 1.0, 2.0]])
    settings = Settings.of([Sampling(), Sampling(), Sampling(temperature=0), Sampling(temperature=0)])
    drawn = draw(logits, torch.full((4,), 0.5), settings)
    assert drawn.logprobs.isnan().tolist() == [False, True, True, False]
    assert ((drawn.ids >= 0) & (drawn.ids < 3)).all()


def test_uniform_numbers_are_uniform_and_differ_by_seed_and_step():
    n = 10_000
    by_seed = uniform(torch.arange(n), torch.zeros(n, dtype=torch.int64))
    by_step = uniform(torch.zeros(n, dtype=torch.int64), torch.arange(n))
    for numbers in (by_seed, by_step):
        assert (numbers >= 0).all()
        assert (numbers < 1).all()
        assert np.histogram(numbers.numpy(), bins=10, range=(0, 1))[0] == pytest.approx(n / 10, rel=0.15)
        assert len(set(numbers.tolist())) > 0.99 * n


def test_filters_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    off = {"top_k": torch.tensor([0]), "top_p": torch.tensor([1.0]), "min_p": torch.tensor([0.0])}
    kept = {
        "top_k": filter_logits(logits, **{**off, "top_k": torch.tensor([2])})[0],
        "top_p": filter_logits(logits, **{**off, "top_p": torch.tensor([0.7])})[0],
        "min_p": filter_logits(logits, **{**off, "min_p": torch.tensor([0.25])})[0],
        "none": filter_logits(logits, **off)[0],
    }
    assert {name: torch.isfinite(x)[0].tolist() for name, x in kept.items()} == {
        "top_k": [True, True, False, False],
        "top_p": [True, True, False, False],
        "min_p": [True, True, True, False],
        "none": [True] * 4,
    }


@pytest.mark.parametrize(
    ("sampling", "first", "second"),
    [
        ({"top_k": 2}, [0.5, 0.3, 0.3 - 2e-7], [0.5, 0.3 - 2e-7, 0.3]),
        ({"top_p": 0.5}, [0.5 + 1e-6, 0.3, 0.2], [0.5 - 1e-6, 0.3, 0.2]),
        ({"min_p": 0.4}, [0.5, 0.2 + 1e-6, 0.3], [0.5, 0.2 - 1e-6, 0.3]),
    ],
)
def test_a_token_at_the_edge_of_a_filter_is_a_near_tie(sampling: dict, first: list[float], second: list[float]):
    logits = torch.tensor([first, second, [0.6, 0.3, 0.1]]).log()
    drawn = draw(logits, torch.full((3,), 0.75), Settings.of([Sampling(**sampling)] * 3))
    assert drawn.near.tolist() == [True, True, False]
    assert drawn.ids[0] != drawn.ids[1] or drawn.logprobs[0] != drawn.logprobs[1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens from 0 up to it, got 8 and 9"),
        ({"stop": ("a", "")}, "a stop string cannot be empty"),
    ],
)
def test_lengths_and_stops_that_make_no_sense_are_refused(wrong: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Sampling(**wrong)


def test_only_an_unchanged_distribution_is_exact():
    assert Sampling(temperature=0.5).exact
    for changed in ({"temperature": 0}, {"top_k": 1}, {"top_p": 0.9}, {"min_p": 0.1}, {"min_new_tokens": 1}):
        assert not Sampling(**changed).exact


def test_logprobs_are_those_of_the_processed_distribution():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    drawn = draw(logits, torch.tensor([0.1]), Settings.of([Sampling(top_k=2)]))
    assert drawn.ids.item() == 0
    assert drawn.logprobs.item() == pytest.approx(np.log(0.5 / 0.8), abs=1e-5)


def test_greedy_takes_the_best_with_probability_one():
    drawn = draw(torch.tensor([[0.0, 3.0, 1.0]]), torch.tensor([0.99]), Settings.of([Sampling(temperature=0)]))
    assert (drawn.ids.item(), drawn.logprobs.item()) == (1, 0.0)
