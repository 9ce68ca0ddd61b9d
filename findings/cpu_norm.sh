#!/usr/bin/env bash
# Surprise: on a CPU the norm of a large float32 tensor is too small, and the more so the larger it is: its
# squares are added one behind the other into few float32 sums. 28 million entries (the embedding of a model
# of 135 M parameters) lose 0.16 %. The sum of the same squares by `x.square().sum()` is right to seven
# digits.
# Package: torch 2.13.0 (CPU; `norm`, `linalg.vector_norm`, and what calls them: `clip_grad_norm_`,
# `cosine_similarity`)
# Why it matters: gradients that were to be cut to norm 1 keep 1.0016, and the lengths of updates, the usual
# alarm of a run that goes wrong, cannot be compared between models, devices, or with a sum over parts
# (sharded training).
# What we do: the norm that clips gradients sums squares in pieces, and the pieces in float64
# (selfplay/learner/norms.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PYTHON'
import torch

torch.manual_seed(0)
print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability(), "- expected: differences below 0.0001 %")
for size in (1_000_000, 10_000_000, 28_000_000):
    x = torch.randn(size)
    right = x.double().square().sum().sqrt().item()
    off = {
        "norm": x.norm().item(),
        "square, sum, root": x.square().sum().sqrt().item(),
        "norm of norms of pieces": torch.stack([piece.norm() for piece in x.split(65_536)]).norm().item(),
    }
    print(f"{size:,} entries:", ", ".join(f"{name} {100 * (value / right - 1):+.5f} %" for name, value in off.items()))

parameter = torch.nn.Parameter(torch.zeros(size))
parameter.grad = x.clone()
torch.nn.utils.clip_grad_norm_([parameter], 1.0)
kept = parameter.grad.double().square().sum().sqrt().item()
print(f"clip_grad_norm_ to 1.0 leaves a gradient of norm {kept:.4f}")
assert off["norm"] / right < 0.9995 and kept > 1.0005, "the behaviour is gone"
PYTHON
