"""QLoRA on a CPU: an adapter over weights in four bits, through a whole run."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from learners import learner_of, sampled_by
from small_runs import Interrupting, small_run
from tiny import tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM

from sparring.agents.models.adapter_folders import lora_layers
from sparring.agents.models.loading import load_language_model
from sparring.agents.names import checkpoint_model
from sparring.agents.players.player_card import PlayerCard
from sparring.envs.games.prompts import TABOO_BRIEF
from sparring.selfplay.cli.main import main
from sparring.selfplay.config.config import EvaluationConfig, LearnerConfig
from sparring.selfplay.learner.batch import Sample, sft_sample
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.runtime.interrupts import Stopped
from sparring.selfplay.storage.folder import read_lines

if find_spec("bitsandbytes") is None:
    pytest.skip("needs the extra qlora", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of peft, when it makes adapters
CONFIG = LearnerConfig(lr=1e-2, minibatch=8, lora_rank=4, four_bit=True)
IDS = torch.arange(12)[None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As wide as a block of four-bit weights, so that bitsandbytes would repack them for the CPU."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer("chatml")
    tiny_model(vocab=len(tokenizer), length=512, hidden_size=64, intermediate_size=128).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    PlayerCard(TABOO_BRIEF, 8, True).save(folder)
    return str(folder)


def samples(of) -> list[Sample]:
    generator = torch.Generator().manual_seed(0)
    made = [sft_sample(torch.randint(0, 300, (8,), generator=generator).tolist(), [False] * 4 + [True] * 4) for _ in range(6)]
    return [replace(sample, advantages=sample.loss_mask * (-1.0) ** i) for i, sample in enumerate(sampled_by(of, made))]


def test_gradients_are_those_of_the_same_weights_in_float32_also_after_play(model: str):
    """Play comes first in a run, and no pass without gradients may change what passes with them compute."""
    four = load_language_model(model, device="cpu", four_bit=True).model
    assert four.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    plain = load_language_model(model, device="cpu", four_bit=True).model.dequantize()
    made = samples(four)
    learners = [learner_of(of, config=replace(CONFIG, kl=0.0)) for of in (four, plain)]
    for learner in learners:
        learner.update(made, seed=0)  # until then the adapter's second factor is zero
    found, expected = (learner.gradients(made) for learner in learners)
    assert found.keys() == expected.keys() and all("lora_" in name for name in found)
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_a_run_trains_stops_resumes_plays_and_is_exported(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run, stopped = tmp_path / "run", tmp_path / "stopped"
    made = small_run(model, run, learner=CONFIG, evaluation=EvaluationConfig(games=1, scripted=False), device="cpu")
    train(made)
    records = read_lines(run / "metrics.jsonl")
    assert [r["mismatch_kl"] for r in records] == pytest.approx([0, 0], abs=1e-6), "the learner's pass gives what the sampler's gave"
    assert records[1]["kl"] > records[0]["kl"] >= 0
    assert (checkpoint_model(run, 0) / "model.safetensors").stat().st_size < (Path(model) / "model.safetensors").stat().st_size

    with pytest.raises(Stopped):
        train(replace(made, out=stopped), progress=Interrupting("round 2/2: learn"))
    resume(stopped)
    names = ("metrics.jsonl", "rounds/002/games.jsonl.gz", "checkpoints/round-002/model/adapter_model.safetensors")
    assert all((run / name).read_bytes() == (stopped / name).read_bytes() for name in names)

    assert main(["tournament", f"{run}@0", f"{run}@2", "--games", "2", "--json"]) == 0
    assert {player["player"] for player in json.loads(capsys.readouterr().out)["players"]} == {f"{run}@0", f"{run}@2"}

    assert main(["export", f"{run}@2", str(tmp_path / "out")]) == 0
    assert main(["export", f"{run}@0", str(tmp_path / "first")]) == 0
    first = AutoModelForCausalLM.from_pretrained(tmp_path / "first").eval()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert not lora_layers(plain) and not getattr(plain.config, "quantization_config", None)
    before = load_language_model(checkpoint_model(run, 0), device="cpu").model
    learnt = load_language_model(checkpoint_model(run, 2), device="cpu").model
    torch.testing.assert_close(plain(IDS).logits, learnt(IDS).logits)
    assert torch.equal(first(IDS).logits, before(IDS).logits), "the model in four bits, as it is"
    assert (plain(IDS).logits - before(IDS).logits).abs().max() > 1e-3, "training changed the model"
