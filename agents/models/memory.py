"""Amounts of memory, and out-of-memory errors; does not import torch."""

import errno
import re
from pathlib import Path

MOST_GIB = 2**20
"""Largest accepted bound, in GiB."""


def free_bytes(device: str) -> int:
    """Free memory in bytes: of the GPU for "cuda", else of the machine; the largest possible number where it
    is unknown."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    try:
        match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        match = None
    return int(match[1]) << 10 if match else MOST_GIB << 30


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is an out-of-memory error of Python, numpy, the system, a GPU, or torch's
    allocator."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | ImportError) and any(sign in str(error) for sign in _SIGNS)


_SIGNS = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "bad_alloc", "unable to mmap", "failed to map segment")
