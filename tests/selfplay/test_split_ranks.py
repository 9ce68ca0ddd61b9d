"""Two processes that split the weights (FSDP2) are one run: the same games, gradients and decisions, and whole tensors on the disk."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator, ParallelismConfig
from accelerate.utils import DistributedType
from forked import command
from learners import learner_of
from small_runs import Heard
from test_distributed import LEARNER, end_one_of_two, examples, same_games, same_metrics, settings, together
from tiny import save_tiny, tiny_model, tiny_tokenizer
from torch import Tensor

from sparring.agents.names import checkpoint_model
from sparring.selfplay.config.config import TrainConfig
from sparring.selfplay.config.yaml_io import load, to_yaml
from sparring.selfplay.learner import fsdp as sharding
from sparring.selfplay.learner import learner
from sparring.selfplay.learner.batch import Example, Sample
from sparring.selfplay.learner.portions import whole_step
from sparring.selfplay.objectives.policy_loss import PolicyLoss
from sparring.selfplay.objectives.spag import published_split
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.runtime.distributed import join
from sparring.selfplay.storage import checkpoint
from sparring.selfplay.storage.episodes import read_episodes
from sparring.selfplay.storage.folder import read_lines


class Splitting(Accelerator):
    """accelerate's, which splits weights on CPUs too: its state leaves FSDP out where there are no GPUs, all that follows knows CPUs."""

    def __init__(self, *, fsdp_plugin=None, **options) -> None:
        super().__init__(fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None:
            self.state.distributed_type, self.state.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            self.state.parallelism_config = ParallelismConfig(dp_shard_size=self.num_processes)
            self.state.device_mesh = self.parallelism_config.get_device_mesh("cpu")


def split_on_cpus() -> None:
    """In a process of its own that was told to split weights."""
    if sharding.wanted():
        learner.Accelerator = Splitting
        sharding.on_gpus = lambda device: True


SPLIT = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
"""What accelerate launch says of a configuration with FSDP2."""
UPDATE = replace(LEARNER, minibatch=4, epochs=2)
CASES = {
    "token": (LEARNER, None, whole_step),
    "sequence": (replace(LEARNER, aggregation="sequence"), None, whole_step),
    "published": (
        replace(LEARNER, aggregation="sequence"),
        PolicyLoss(kl=0.2, kl_form="reward", unit="sample", detach_kl=False),
        published_split,
    ),
}


def gradients(case: str, samples: list[Example], sft_mix: list[Sample]) -> dict[str, Tensor]:
    config, loss, split = CASES[case]
    found = learner_of(tiny_model(vocab=64), loss, config=config, split=split).gradients(samples, sft_mix)
    return {name.removeprefix("module."): gradient for name, gradient in found.items()}


def made_by_one(folder: Path, name: str) -> None:
    """Gradients, and an update with its metrics. One sample alone leaves a process with nothing to do."""
    split_on_cpus()
    ranks = join("cpu")
    samples, sft_mix = examples(0)
    found = {case: gradients(case, samples, sft_mix) for case in CASES} | {"alone": gradients("token", samples[:1], [])}
    made = learner_of(tiny_model(vocab=64), config=UPDATE)
    assert made.split == sharding.wanted()
    metrics = made.update(samples, seed=0, sft_mix=sft_mix)
    assert ranks.gather(metrics) == [metrics] * ranks.size
    made.sync_weights()
    state = made.state_dict(weights=True)
    if ranks.main:
        torch.save([found, metrics, made.sampling_model.state_dict(), state], folder / name)


def goes_on(folder: Path, before: str, name: str) -> None:
    """A second update, from the state after the first."""
    split_on_cpus()
    ranks = join("cpu")
    made = learner_of(tiny_model(vocab=64, seed=1), config=UPDATE)
    made.load_state_dict(torch.load(folder / before)[3])
    made.update(examples(1)[0], seed=1)
    made.sync_weights()
    if ranks.main:
        torch.save(made.sampling_model.state_dict(), folder / name)


def test_two_processes_compute_the_gradients_of_one(tmp_path: Path):
    together(made_by_one, tmp_path, tmp_path, "two", **SPLIT)
    made_by_one(tmp_path, "one")
    (one, metrics, weights, state), (two, *rest) = (torch.load(tmp_path / name) for name in ("one", "two"))
    for case, found in one.items():
        for name, gradient in found.items():
            torch.testing.assert_close(two[case][name], gradient, atol=1e-6, rtol=1e-5, msg=f"{case} {name}")
    assert rest[0] == pytest.approx(metrics, rel=1e-4)
    torch.testing.assert_close(rest[1], weights, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rest[2], state, atol=1e-5, rtol=1e-5)
    goes_on(tmp_path, "two", "whole")
    together(goes_on, tmp_path, tmp_path, "one", "split", **SPLIT)
    torch.testing.assert_close(torch.load(tmp_path / "whole"), torch.load(tmp_path / "split"), atol=1e-5, rtol=1e-5)


def test_two_processes_are_one_run(tmp_path: Path):
    model = save_tiny(tmp_path / "model")
    together(_train, tmp_path, settings(model, tmp_path / "two"), **SPLIT)
    train(settings(model, tmp_path / "one"))
    one, two = tmp_path / "one", tmp_path / "two"
    assert same_games(one, two, 1)
    same_metrics(read_lines(one / "metrics.jsonl"), read_lines(two / "metrics.jsonl"))
    assert len(list((two / "tensorboard").iterdir())) == 1, "one writer"
    assert json.loads((two / "evaluation/round-000.json").read_text()) == json.loads((one / "evaluation/round-000.json").read_text())
    states = [json.loads((checkpoint_model(run, 1).parent / "state.json").read_text()) for run in (one, two)]
    assert states[1] == {**states[0], "processes": 2}

    for run in (one, two):
        (run / "config.yaml").write_text(to_yaml(replace(load(run / "config.yaml", TrainConfig), rounds=2)))
    heard = Heard()
    resume(two, progress=heard)
    assert any("until now 2 processes, from now on 1: model and optimiser go on" in text for text in heard.said)
    assert len(list(read_episodes(two / "rounds/002/games.jsonl.gz"))) == 12
    together(_resume, tmp_path, one, **SPLIT)
    ends = [json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["sft_mix_loss"] for run in (one, two)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)


def _train(config: TrainConfig) -> None:
    split_on_cpus()
    train(config)


def _resume(run: Path) -> None:
    split_on_cpus()
    resume(run)


def test_a_signal_to_one_process_ends_the_step_of_both(tmp_path: Path):
    trainer, _ = checkpoint.load(end_one_of_two(_command, tmp_path, **SPLIT), update=True)
    assert {value.shape for value in trainer["master"].values()} == {p.shape for p in tiny_model(vocab=len(tiny_tokenizer())).parameters()}


def _command(arguments: list[str]) -> int:
    split_on_cpus()
    return command(arguments)
