"""Two processes are one run: the same games, gradients and decisions, and one writer."""

import json
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forked import command, start
from learners import learner_of
from small_runs import NO_EVALUATION, Heard, small_run
from tiny import save_tiny, tiny_model
from torch import Tensor

from sparring.agents.names import checkpoint_folder
from sparring.selfplay.config.config import LearnerConfig, SFTConfig, SFTMixConfig, TrainConfig
from sparring.selfplay.config.yaml_io import load, to_yaml
from sparring.selfplay.learner.batch import Example, Pair, Sample, samples_of, sft_sample
from sparring.selfplay.learner.portions import whole_step
from sparring.selfplay.learner.scoring import Scorer, with_reference
from sparring.selfplay.objectives.policy_loss import PolicyLoss
from sparring.selfplay.objectives.preference_loss import PreferenceLoss
from sparring.selfplay.objectives.sft_loss import SFTLoss, SFTWithKLLoss
from sparring.selfplay.objectives.spag import published_split
from sparring.selfplay.run.train import resume, train
from sparring.selfplay.runtime.distributed import Ranks, join
from sparring.selfplay.storage import checkpoint
from sparring.selfplay.storage.folder import RunFolder, read_lines

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of peft, when it makes adapters
LEARNER = LearnerConfig(lr=1e-3, kl=0.0, token_budget=60)


def free_port() -> str:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return str(opened.getsockname()[1])


def two(work, folder: Path, *arguments, **environment: str) -> list:
    """The work in two processes that know of each other, as torchrun starts them."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"ACCELERATE_USE_CPU": "true", **environment}
    return [start(folder / f"said-{rank}", work, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(2)]


def together(work, folder: Path, *arguments, **environment: str) -> None:
    both = two(work, folder, *arguments, **environment)
    assert exits(both) == [0, 0], "\n".join((folder / f"said-{rank}").read_text() for rank in range(2))


def exits(processes: list) -> list[int]:
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def examples(seed: int) -> tuple[list[Sample], list[Sample]]:
    """Samples of many lengths, pairs and sft_mix; the odd number leaves one process with less to do."""
    generator = torch.Generator().manual_seed(seed)

    def sample(length: int) -> Sample:
        ids = torch.randint(0, 64, (length,), generator=generator).tolist()
        made = sft_sample(ids, [False, *(bool(b) for b in torch.randint(0, 2, (length - 2,), generator=generator)), True])
        noise = torch.randn(2, length, generator=generator).numpy() * made.loss_mask
        stored = noise[0] - 4 * made.loss_mask
        return replace(made, sampler_logprobs=stored, reference_logprobs=stored, advantages=noise[1], role="attacker")

    return [sample(5 + 3 * i) for i in range(9)], [sample(6 + i) for i in range(3)]


def paired(samples: Sequence[Sample]) -> list[Example]:
    return [Pair(one, other) for one, other in zip(samples[0::2], samples[1::2], strict=False)]


CASES = {
    "token": (LEARNER, None),
    "sequence": (replace(LEARNER, aggregation="sequence"), None),
    "exact": (replace(LEARNER, kl=0.2, kl_form="exact"), None),
    "sampled": (replace(LEARNER, kl=0.2, kl_form="sampled"), None),
    "lora": (replace(LEARNER, kl=0.2, kl_form="exact", lora_rank=4), None),
    "lora-sampled": (replace(LEARNER, kl=0.2, kl_form="sampled", lora_rank=4), None),
    "sft": (LEARNER, SFTLoss()),
    "sft with kl": (LEARNER, SFTWithKLLoss(0.1)),
    "pairs": (LEARNER, PreferenceLoss()),
    "published": (replace(LEARNER, aggregation="sequence"), PolicyLoss(kl=0.2, kl_form="reward", unit="sample", detach_kl=False)),
}


def gradients(case: str, samples: list[Example], sft_mix: list[Sample]) -> dict[str, Tensor]:
    config, loss = CASES[case]
    published = case == "published"
    learner = learner_of(
        tiny_model(vocab=64),
        loss,
        reference=None if published else tiny_model(vocab=64, seed=1),
        config=config,
        split=published_split if published else whole_step,
    )
    generator = torch.Generator().manual_seed(2)
    for name, parameter in learner.model.named_parameters():
        if "lora_B" in name:  # as after some steps; fresh, it is zero, and half of the gradient with it
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 10)
    found = learner.gradients(paired(samples) if case == "pairs" else samples, sft_mix)
    return {name.removeprefix("module."): gradient for name, gradient in found.items()}


def made_by_one(folder: Path) -> None:
    """Gradients, and an update with its metrics. One sample alone leaves a process with nothing to do."""
    ranks = join("cpu")
    samples, sft_mix = examples(0)
    found = {case: gradients(case, samples, sft_mix) for case in CASES} | {"alone": gradients("token", samples[:1], [])}
    learner = learner_of(tiny_model(vocab=64), config=replace(LEARNER, minibatch=4, epochs=2))
    metrics = learner.update(samples, seed=0, sft_mix=sft_mix)
    assert ranks.gather(metrics) == [metrics] * ranks.size
    referred = referred_by(ranks, samples)
    if ranks.main:
        torch.save([found, metrics, learner.sampling_model.state_dict(), referred], folder / f"of-{ranks.size}")


def referred_by(ranks: Ranks, samples: list[Example]) -> list[Tensor]:
    """The reference's log-probabilities, as all processes hold them; each has scored its share of the samples."""
    scored: list[int] = []

    class Counting(Scorer):
        def score(self, batch, **options):
            scored.append(len(batch.lengths))
            return super().score(batch, **options)

    made = samples_of(with_reference(Counting(tiny_model(vocab=64)), samples, 60, ranks=ranks))
    held = [sample.reference_logprobs.tobytes() for sample in made]
    assert ranks.gather(held) == [held] * ranks.size, "the same bytes"
    assert sum(scored) == len(made[ranks.rank :: ranks.size])
    return [torch.from_numpy(sample.reference_logprobs) for sample in made]


def test_two_processes_compute_the_gradients_of_one(tmp_path: Path):
    together(made_by_one, tmp_path, tmp_path)
    made_by_one(tmp_path)
    (one, metrics, weights, referred), (two, *rest) = (torch.load(tmp_path / f"of-{n}") for n in (1, 2))
    for case, found in one.items():
        for name, gradient in found.items():
            torch.testing.assert_close(two[case][name], gradient, atol=1e-6, rtol=1e-5, msg=f"{case} {name}")
    assert rest[0] == pytest.approx(metrics, rel=1e-4)
    torch.testing.assert_close(rest[1], weights, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rest[2], referred, atol=1e-5, rtol=1e-5)


def settings(model: str, out: Path) -> TrainConfig:
    learner = LearnerConfig(lr=1e-5, minibatch=8)
    return small_run(model, out, rounds=1, games_per_round=12, method="rae", learner=learner, device="cpu")


@pytest.mark.parametrize(("lora_rank", "before", "after"), [(0, 2, 1), (4, 1, 2)])
def test_two_processes_are_one_run_and_any_number_goes_on_with_it(tmp_path: Path, lora_rank: int, before: int, after: int):
    made = settings(save_tiny(tmp_path / "model"), tmp_path / "one")
    made = replace(made, sft=SFTConfig(steps=2, minibatch=4, games=8), learner=replace(made.learner, lora_rank=lora_rank))
    one, other = tmp_path / "one", tmp_path / "other"
    train(replace(made, rounds=2))
    by(before, _train, tmp_path, replace(made, out=other))
    assert same_games(one, other, 1)
    same_metrics(read_lines(one / "metrics.jsonl")[:2], read_lines(other / "metrics.jsonl"))
    assert len(list((other / "tensorboard").iterdir())) == 1, "one writer"
    assert json.loads((other / "evaluation/round-000.json").read_text()) == json.loads((one / "evaluation/round-000.json").read_text())
    states = [checkpoint.load(checkpoint_folder(run, 1))[1] for run in (one, other)]
    assert states[1] == {**states[0], "processes": before}

    longer = replace(load(other / "config.yaml", TrainConfig), rounds=2)
    (other / "config.yaml").write_text(to_yaml(longer))
    by(after, _resume, tmp_path, other)
    assert f"until now {before} processes, from now on {after}: model and optimiser go on" in (tmp_path / "heard").read_text()
    assert same_games(one, other, 2)
    same_metrics(read_lines(one / "metrics.jsonl"), read_lines(other / "metrics.jsonl"))
    mine, theirs = (checkpoint.load(checkpoint_folder(run, 2))[0] for run in (one, other))
    assert mine["steps"] == theirs["steps"] > read_lines(one / "metrics.jsonl")[1]["steps"], "of both rounds"
    torch.testing.assert_close(theirs["optimizer"]["state"], mine["optimizer"]["state"], atol=1e-6, rtol=1e-2)


def by(processes: int, work, folder: Path, *arguments) -> None:
    """The work by one process, this one, or by two."""
    together(work, folder, *arguments) if processes == 2 else work(*arguments)


def same_games(one: Path, other: Path, number: int) -> bool:
    files = [RunFolder(run).games(number) for run in (one, other)]
    return files[0].read_bytes() == files[1].read_bytes()


def same_metrics(some: list[dict], others: list[dict]) -> None:
    """But for how full batches were, as these are others."""
    for mine, theirs in zip(some, others, strict=True):
        assert mine.keys() == theirs.keys() and mine.get("reasons") == theirs.get("reasons")
        for name in mine.keys() - {"occupancy"}:
            assert theirs[name] == mine[name] or theirs[name] == pytest.approx(mine[name], rel=1e-3, abs=1e-6), name


def _train(config: TrainConfig) -> None:
    train(config)


def _resume(run: Path) -> None:
    heard = Heard()
    resume(run, progress=heard)
    if heard.said:  # by the main process alone
        (run.parent / "heard").write_text("\n".join(heard.said))


def end_one_of_two(work, folder: Path, **environment: str) -> Path:
    """Two processes that run `sparring`, by `work`, until one is told to end while they learn; the checkpoint of that update."""
    made = replace(settings(save_tiny(folder / "model"), folder / "run"), sft=SFTConfig(), sft_mix=SFTMixConfig(source="none"))
    made = replace(made, evaluation=NO_EVALUATION, learner=replace(made.learner, epochs=10_000))
    (folder / "config.yaml").write_text(to_yaml(made))
    both = two(work, folder, ["train", "--config", str(folder / "config.yaml"), "--out", str(folder / "run")], **environment)
    said = folder / "said-0"
    while not (said.exists() and "round 1/1: learn" in said.read_text()):
        assert both[0].is_alive(), said.read_text()
        time.sleep(0.05)
    os.kill(both[0].pid, signal.SIGTERM)  # the other one may not have begun to learn yet
    assert exits(both) == [143, 143], "".join((folder / f"said-{rank}").read_text() for rank in range(2))
    assert "continue with: sparring train --resume" in said.read_text()
    return folder / "run" / "checkpoints" / "update-001"


def test_a_signal_to_one_process_ends_the_step_of_both(tmp_path: Path):
    assert end_one_of_two(command, tmp_path).is_dir()


def test_one_device_is_not_for_several(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="one device, but 2 processes run"):
        join("cuda:1")
