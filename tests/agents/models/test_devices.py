"""Devices by name: what is there is found, what is not is named."""

import pytest
import torch

from sparring.agents.models.devices import pick_device


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """A machine with so many GPUs, the last of them current."""

    def have(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: count - 1)

    return have


def test_without_a_gpu(gpus):
    gpus(0)
    assert pick_device() == pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(ValueError, match=f"device '{name}' was given, but torch sees no GPU: give cpu, or leave it out"):
            pick_device(name)


def test_with_gpus(gpus):
    gpus(2)
    assert pick_device() == pick_device("cuda") == torch.device("cuda:1")
    assert pick_device("cuda:0") == torch.device("cuda:0")
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="the last GPU that torch sees is cuda:1"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_a_name_that_means_nothing(name: str):
    with pytest.raises(ValueError, match=f"unknown device '{name}'"):
        pick_device(name)
