"""The whole loop on models shaped like those that people train, with random weights and their kind of chat template."""

import json
from pathlib import Path

import pytest
import torch
from tiny import tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM

from sparring.agents.names import checkpoint_model
from sparring.selfplay.cli import main
from sparring.selfplay.config import EvaluationConfig, ImitationConfig, TrainConfig
from sparring.selfplay.interrupts import Stopped
from sparring.selfplay.learner import LearnerConfig
from sparring.selfplay.progress import Quiet
from sparring.selfplay.train import resume, train


class Interrupting(Quiet):
    """Presses Ctrl-C in the middle of round 2."""

    def phase(self, title: str, total: int, unit: str = "games"):
        if title == "round 2/2: learn":
            raise KeyboardInterrupt
        return super().phase(title, total, unit)


@pytest.mark.parametrize(("kind", "template"), [("qwen3", "qwen"), ("llama3", "llama3"), ("gemma3", "gemma")])
def test_imitation_two_rounds_resume_and_tournament(kind: str, template: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tokenizer = tiny_tokenizer(template)
    place, run = tmp_path / "model", tmp_path / "run"
    tiny_model(kind, vocab=len(tokenizer), length=512).save_pretrained(place)
    tokenizer.save_pretrained(place)
    made = TrainConfig(
        model=str(place),
        words="everyday",
        rounds=2,
        games_per_round=8,
        group_size=4,
        max_turns=2,
        max_new_tokens=8,
        replay_pool=8,
        imitation=ImitationConfig(steps=3, minibatch=4, games=6),
        learner=LearnerConfig(minibatch=8, replay_per_minibatch=2),
        evaluation=EvaluationConfig(games=2, control=False),
        out=run,
    )
    with pytest.raises(Stopped, match="--resume"):
        train(made, progress=Interrupting())
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
