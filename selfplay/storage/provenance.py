"""Where a run's numbers come from: seed, commit, versions, hardware."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("sparring", "torch", "transformers", "accelerate", "numpy", "gymnasium", "tokenizers", "peft")


def provenance(seed: int, **extra: Any) -> dict[str, Any]:
    """What is needed to say where a run's numbers come from: seed, commit, versions, hardware. Gone libraries are None. kernels: whether
    the compiled part of generation was there, which rounds otherwise than torch does. bfloat16: the processor's instructions for it.
    """
    import torch

    from sparring.agents.engine import kernels

    return {
        "seed": seed,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in LIBRARIES},
        "kernels": kernels.AVAILABLE,
        "bfloat16": {kernels.PAIRED: "avx512_bf16", kernels.TILED: "amx_bf16"}.get(kernels.instructions(), "none"),
        "hardware": {
            "machine": platform.machine(),
            "system": platform.platform(),
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        **extra,
    }


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _commit() -> str | None:
    """The commit of the source tree that this module lies in, "+changes" where it was changed since; None when installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        status = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")
