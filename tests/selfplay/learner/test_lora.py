"""Runs that train an adapter: the model under it is its own reference, the trained model plays, and its name means the same everywhere."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from learners import learner_of, sampled_by
from small_runs import LEARNER, NO_EVALUATION, Interrupting, small_run
from tiny import tiny_model
from transformers import AutoModelForCausalLM

from sparring.agents.models.adapter_folders import active_adapter, lora_layers, merge
from sparring.agents.models.loading import load_language_model
from sparring.agents.names import checkpoint_model, resolve
from sparring.selfplay.config.config import LearnerConfig, SFTConfig, TrainConfig
from sparring.selfplay.learner import lora
from sparring.selfplay.learner.batch import Sample, sft_sample
from sparring.selfplay.run.session import prepare
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.runtime.interrupts import Stopped
from sparring.selfplay.storage.export import export
from sparring.selfplay.storage.folder import read_lines

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of peft, when it makes adapters
CONFIG = LearnerConfig(lr=1e-2, kl=0.0, grad_clip=1e9, lora_rank=4)
IDS = torch.tensor([[9, 8, 7, 6, 5]])


def samples(of, n: int = 6) -> list[Sample]:
    generator = torch.Generator().manual_seed(0)
    made = [sft_sample(torch.randint(0, 60, (8,), generator=generator).tolist(), [False] * 4 + [True] * 4) for _ in range(n)]
    return [replace(sample, advantages=sample.loss_mask * (-1.0) ** i) for i, sample in enumerate(sampled_by(of, made))]


def logits(of) -> torch.Tensor:
    with torch.no_grad():
        return of(input_ids=IDS).logits


def test_a_fresh_adapter_changes_nothing_and_is_the_same_again():
    plain, ones = tiny_model(vocab=60), []
    for seed in (0, 1):
        of = tiny_model(vocab=60)
        torch.manual_seed(seed)
        parameters = lora.begin(of, 4)
        assert torch.equal(logits(of), logits(plain))
        assert sum(p.numel() for p in parameters) == lora.size(of, 4) == lora.size(plain, 4)
        ones.append(parameters)
    assert all(torch.equal(a, b) for a, b in zip(*ones, strict=True))


def test_only_the_adapter_is_trained_and_off_it_is_the_reference():
    of, before = tiny_model(vocab=60), logits(tiny_model(vocab=60))
    made = samples(of)
    learner = learner_of(of, reference=of, config=replace(CONFIG, kl=0.1))
    assert all("lora_" in name for name in learner.gradients(made))
    assert learner.update(made, seed=0)["kl"] == pytest.approx(0, abs=1e-6)
    assert learner.update(made, seed=1)["kl"] > 1e-6
    assert not torch.allclose(logits(of), before, atol=1e-3)
    with active_adapter(of, None):
        assert torch.equal(logits(of), before)


def test_an_adapters_gradient_is_that_of_its_product_of_weights():
    """d/dB of W + 2 B A is 2 (dW) A^T, and A has no gradient while B is zero."""
    of, adapted = tiny_model(vocab=60), tiny_model(vocab=60)
    made = samples(of)
    full = learner_of(of, config=replace(CONFIG, lora_rank=0)).gradients(made)
    found = learner_of(adapted, config=CONFIG).gradients(made)
    for name, layer in lora.targets(of):
        down = adapted.get_submodule(name).lora_A[lora.NAME].weight
        assert torch.allclose(found[f"{name}.lora_B.{lora.NAME}.weight"], 2 * full[f"{name}.weight"] @ down.T, atol=1e-4, rtol=1e-3)
        assert found[f"{name}.lora_A.{lora.NAME}.weight"].abs().max() == 0
        assert layer.weight.shape == (full[f"{name}.weight"].shape)


def test_a_merged_adapter_says_the_same_and_leaves_no_trace():
    of = tiny_model(vocab=60)
    names = list(of.state_dict())
    learner_of(of, config=CONFIG).update(samples(of), seed=0)
    trained = logits(of)
    merge(of)
    assert torch.allclose(logits(of), trained, atol=1e-4)
    assert not lora_layers(of)
    assert list(of.state_dict()) == names


def test_models_without_linear_layers_are_refused():
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel has no linear layers .* set learner.lora_rank 0"):
        learner_of(tiny_model("gpt2"), config=CONFIG)


def config(model: str, out: Path, **changes) -> TrainConfig:
    learner = replace(LEARNER, lr=1e-2, lora_rank=4)
    settings = {"learner": learner, "sft": SFTConfig(steps=2, minibatch=4, games=4), "evaluation": NO_EVALUATION}
    return small_run(model, out, **settings | changes)


def test_a_run_trains_stops_resumes_and_is_exported(model: str, tmp_path: Path):
    run = tmp_path / "run"
    train(config(model, run))
    records = read_lines(run / "metrics.jsonl")
    assert [r["round"] for r in records] == [0, 1, 2]
    assert records[1]["mismatch_kl"] == pytest.approx(0, abs=1e-6)
    assert records[2]["mismatch_kl"] == pytest.approx(0, abs=1e-6), "the player of round 2 is the adapter that round 1 has trained"
    assert records[2]["kl"] > records[1]["kl"] >= 0
    assert (checkpoint_model(run, 0) / "model.safetensors").is_file()
    assert not (checkpoint_model(run, 2) / "model.safetensors").exists()

    stopped = tmp_path / "stopped"
    with pytest.raises(Stopped):
        train(config(model, stopped), progress=Interrupting("round 2/2: learn"))
    resume(stopped)
    names = ("metrics.jsonl", "rounds/002/games.jsonl.gz", "checkpoints/round-002/model/adapter_model.safetensors")
    assert all((run / name).read_bytes() == (stopped / name).read_bytes() for name in names)

    trained = load_language_model(checkpoint_model(run, 0), device="cpu").model
    lora.begin(trained, 4)
    lora.restore(trained, checkpoint_model(run, 2))
    folder = export(f"{run}@latest", tmp_path / "exported")
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert not lora_layers(plain)
    assert torch.allclose(logits(plain), logits(trained), atol=1e-4)
    with active_adapter(trained, None):
        assert not torch.allclose(logits(plain), logits(trained), atol=1e-3)

    models: dict = {}
    players = [resolve(f"{run}@{n}", models=models, device="cpu") for n in (0, 1, 2)]
    assert len(models) == 1, "the rounds of a run share the model under their adapters"
    assert len({player.adapter for player in players}) == 3

    moved = run.rename(tmp_path / "moved")
    assert torch.allclose(logits(load_language_model(checkpoint_model(moved, 2), device="cpu").model), logits(plain), atol=1e-5)


def test_four_bits_need_an_adapter_and_bitsandbytes(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"learner.four_bit .* needs learner.lora_rank"):
        config(model, tmp_path, learner=LearnerConfig(four_bit=True))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    wanted = config(model, tmp_path, learner=LearnerConfig(four_bit=True, lora_rank=4), sft=SFTConfig(), device="cpu")
    with pytest.raises(ValueError, match=r"need the extra qlora: pip install -e '\.\[qlora\]'"):
        prepare(wanted)
