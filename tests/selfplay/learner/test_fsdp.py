"""Splitting weights is refused, before anything is written, where the learner cannot do it. What it does: test_split_ranks.py."""

from pathlib import Path

import pytest
from tiny import save_tiny

from sparring.selfplay.config.config import TrainConfig
from sparring.selfplay.learner import fsdp as sharding
from sparring.selfplay.run.train import train


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch):
    """As accelerate launch hands them over."""

    def put(*, gpus: bool = True, **values: str) -> None:
        for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", **values}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sharding, "on_gpus", lambda device: gpus)

    return put


def test_settings_that_fit_are_taken(settings):
    settings(FSDP_AUTO_WRAP_POLICY="TRANSFORMER_BASED_WRAP", FSDP_CPU_RAM_EFFICIENT_LOADING="false")
    sharding.check("auto", adapter=False)
    assert sharding.plugin(half=True).mixed_precision_policy.output_dtype is None, "log-probabilities stay as exact as they are"


def test_nothing_is_split_unasked():
    sharding.check("auto", adapter=True)
    assert sharding.plugin(half=False) is None


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FSDP_VERSION", "1", "set fsdp_version: 2"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", "set fsdp_cpu_ram_efficient_loading: false"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "learner.gradient_checkpointing true"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed is not supported: split weights with FSDP2"),
    ],
)
def test_settings_that_do_not_are_refused(settings, name: str, value: str, said: str):
    settings(**{name: value})
    with pytest.raises(ValueError, match=said):
        sharding.check("auto", adapter=False)


def test_an_adapter_is_not_split(settings):
    settings()
    with pytest.raises(ValueError, match=r"an adapter is trained in the model that plays, .* docs/examples/ddp.yaml"):
        sharding.check("auto", adapter=True)


def test_cpus_are_refused_before_anything_is_written(tmp_path: Path, settings):
    settings(gpus=False)
    with pytest.raises(ValueError, match="accelerate splits weights among GPUs only"):
        train(TrainConfig(model=save_tiny(tmp_path / "model"), device="cpu", out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
