"""The whole loop on models shaped like those that people train, with random weights and their kind of chat template."""

import json
from pathlib import Path

import pytest
import torch
from small_runs import Interrupting, small_run
from tiny import tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM

from sparring.agents.names import checkpoint_model
from sparring.selfplay.cli.main import main
from sparring.selfplay.config.config import SFTConfig
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.runtime.interrupts import Stopped


@pytest.mark.parametrize(("kind", "template"), [("qwen3", "qwen"), ("llama3", "llama3"), ("gemma3", "gemma")])
def test_imitation_two_rounds_resume_and_tournament(kind: str, template: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tokenizer = tiny_tokenizer(template)
    place, run = tmp_path / "model", tmp_path / "run"
    tiny_model(kind, vocab=len(tokenizer), length=512).save_pretrained(place)
    tokenizer.save_pretrained(place)
    made = small_run(str(place), run, words="everyday", sft=SFTConfig(steps=3, minibatch=4, games=6))
    with pytest.raises(Stopped, match="--resume"):
        train(made, progress=Interrupting("round 2/2: learn"))
    summary = resume(run)
    assert [entry["round"] for entry in summary.data["rounds"]] == [1, 2]
    mismatches = [entry["mismatch_kl"] for entry in summary.data["rounds"] if "mismatch_kl" in entry]
    assert mismatches and max(mismatches) < 1e-6, "the learner's pass gives what the sampler's gave"

    assert main(["tournament", f"{run}@0", f"{run}@2", "--games", "2", "--json"]) == 0
    assert {player["player"] for player in json.loads(capsys.readouterr().out)["players"]} == {f"{run}@0", f"{run}@2"}

    assert main(["export", f"{run}@2", str(tmp_path / "out")]) == 0
    learnt = AutoModelForCausalLM.from_pretrained(checkpoint_model(run, 2))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.arange(12)[None]
    assert torch.equal(plain(ids).logits, learnt(ids).logits)
    moved = AutoModelForCausalLM.from_pretrained(place)(ids).logits - plain(ids).logits
    assert moved.abs().max() > 1e-3, "training changed the model"
