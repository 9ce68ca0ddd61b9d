"""Resolves device settings before anything is loaded."""

import torch


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device of a setting: None and auto mean a GPU if there is one, cuda the current GPU. Raises
    ValueError for a missing device and for an invalid name."""
    if name in (None, "auto"):
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(str(name))
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: give auto, cpu, cuda or cuda:N") from error
    if device.type != "cuda":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise ValueError(f"device {str(name)!r} was given, but torch sees no GPU: give cpu, or leave it out")
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= count:
        raise ValueError(f"device {str(name)!r} was given, but the last GPU that torch sees is cuda:{count - 1}")
    return torch.device("cuda", index)
