from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import NO_EVALUATION, small_run
from tiny import needs_compiler, save_tiny, tiny_model

from sparring.agents.core import Sampling
from sparring.agents.engine.loop import HFLoop
from sparring.selfplay.learner.footprint import LOGIT_COPIES, learning_bytes, saved_bytes
from sparring.selfplay.learner.scoring import Scorer
from sparring.selfplay.run import session
from sparring.selfplay.run.dry_run import plan
from sparring.selfplay.run.method import method_of
from sparring.selfplay.run.session import prepare


def test_a_second_model_is_counted_where_one_is_held(tmp_path: Path):
    config = small_run(save_tiny(tmp_path / "model"), tmp_path / "run", evaluation=NO_EVALUATION)
    alone = replace(config, learner=replace(config.learner, kl=0.0))
    made = prepare(alone)
    one = plan(made, method_of(alone))["memory_bytes"]
    assert one["weights"] == sum(p.numel() * p.element_size() for p in made.model.model.parameters())
    assert 0 < one["cache_at_most"] < made.model.loop.memory_bound() / 4, "eight games of two utterances, not 512 full contexts"
    for other in (
        replace(alone, evaluation=replace(NO_EVALUATION, games=2)),
        replace(alone, evaluation=replace(NO_EVALUATION, control=True)),
    ):
        two = plan(replace(made, config=other), method_of(other))["memory_bytes"]
        assert (two["weights"], two["cache_at_most"]) == (2 * one["weights"], 2 * one["cache_at_most"])
    for other in (config, replace(alone, method="dpo")):
        two = plan(replace(made, config=other), method_of(other))["memory_bytes"]
        assert (two["weights"], two["cache_at_most"]) == (2 * one["weights"], one["cache_at_most"])
    assert one["total_at_most"] == sum(value for name, value in one.items() if name != "total_at_most")


@needs_compiler
def test_the_rounded_copy_of_a_model_that_plays_in_bfloat16_is_counted(tmp_path: Path):
    config = small_run(save_tiny(tmp_path / "model"), tmp_path / "run", evaluation=NO_EVALUATION)
    whole, rounded = (
        plan(prepare(some), method_of(some))["memory_bytes"]["weights"] for some in (config, replace(config, dtype="bfloat16"))
    )
    assert rounded == whole * 6 // 4, "two bytes a weight beside its four"


@pytest.mark.parametrize("method", ["spin", "ipo"])
def test_no_second_model_plays_where_the_reference_is_the_sampler(tmp_path: Path, method: str):
    config = small_run(save_tiny(tmp_path / "model"), tmp_path / "run", evaluation=NO_EVALUATION)
    made = prepare(config)
    played = replace(config, method=method, learner=replace(config.learner, reference="behaviour"))
    assert plan(made, method_of(played))["memory_bytes"]["weights"] * 2 == plan(made, method_of(config))["memory_bytes"]["weights"]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "gpt-oss", "mistral"])
def test_a_pass_holds_no_more_than_is_announced(kind: str):
    """Samples of other lengths than those that were tried; capped scores and sinks take the square of a length."""
    scorer = Scorer(tiny_model(kind, vocab=60, length=512))
    for lengths in ((7, 100, 31), (300,), (64,) * 6):
        held = saved_bytes(scorer, lengths)
        tokens, longest = sum(lengths), max(lengths)
        announced = learning_bytes(scorer, tokens if scorer.packs else len(lengths) * longest, longest)
        logits = 4 * LOGIT_COPIES * tokens * 60
        assert held < announced < 3 * held + logits * 3, f"{kind} {lengths}"
    plain = learning_bytes(scorer, 1000, 100)
    assert learning_bytes(scorer, 1000, 100, rank=8) > plain > learning_bytes(scorer, 1000, 100, recomputed=True)


@pytest.mark.parametrize("width", [pytest.param(32, id="buckets"), pytest.param(64, id="blocks", marks=needs_compiler)])
def test_caches_hold_no_more_than_is_announced(width: int):
    model = tiny_model(length=512, hidden_size=width)
    loop = HFLoop(model, end_ids=frozenset(), max_rows=64, max_streams=128)
    streams, length = 40, 200
    for turn in range(2):
        for i in range(streams):
            loop.submit(f"{i}", list(range(5 + i, 5 + i + length // 2 - 8)), Sampling(max_new_tokens=8), i + turn)
        left = streams
        while left:
            left -= len(loop.poll())
    pool = loop._sequences.pool
    used = (len(pool.data) - len(pool.free_blocks)) * pool.data[0].nbytes
    held, growing = loop.held_bound(streams, length, streams)
    buckets = sum(bucket.data.nbytes for bucket in getattr(loop._batch, "buckets", ()))
    assert streams * (length - 1) * loop.packed.layout.bytes_per_token <= used
    assert used + buckets <= (held if loop.packed.in_blocks else held + growing)
    assert held + growing <= 6 * (used + buckets)


def test_a_lora_run_is_announced_with_what_its_passes_hold(tmp_path: Path):
    pytest.importorskip("peft")
    config = small_run(save_tiny(tmp_path / "model"), tmp_path / "run", evaluation=NO_EVALUATION)
    whole = plan(prepare(config), method_of(config))["memory_bytes"]
    adapted = replace(config, learner=replace(config.learner, lora_rank=4))
    lora = plan(prepare(adapted), method_of(adapted))["memory_bytes"]
    assert lora["training"] < whole["training"] < whole["passes_at_most"] < lora["passes_at_most"]
    assert lora["total_at_most"] > lora["passes_at_most"] + lora["cache_at_most"]


def test_a_token_budget_is_halved_until_it_fits_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = small_run(save_tiny(tmp_path / "model"), tmp_path / "run", evaluation=NO_EVALUATION)
    assert prepare(config).config.learner.token_budget == 8192
    scorer = Scorer(tiny_model())
    training = 12 * scorer.unwrapped.num_parameters()
    for budget in (4096, 512):
        room = learning_bytes(scorer, budget, 512)
        monkeypatch.setattr(session, "free_bytes", lambda _, room=room: training + 2 * room)
        assert prepare(config).config.learner.token_budget == budget
    monkeypatch.setattr(session, "free_bytes", lambda _: 0)
    assert prepare(config).config.learner.token_budget == 512
    assert prepare(config, Path(config.model)).config.learner.token_budget == 8192, "a run that is resumed keeps its own"
