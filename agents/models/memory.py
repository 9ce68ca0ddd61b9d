"""Amounts of memory, and running out of it; without importing torch."""

import errno
import re
from pathlib import Path

MOST_GIB = 2**20
"""The largest bound that can be given for memory."""


def require_gib(name: str, gib: float) -> None:
    """Raises ValueError for an amount of memory that is negative, no number, or more than any machine has."""
    if not 0 <= gib <= MOST_GIB:
        raise ValueError(f"{name} must be 0 to {MOST_GIB} GiB, got {gib:g}")


def free_bytes(device: str) -> int:
    """The memory that nobody uses: of the GPU for "cuda", else of the machine; as much as there can be where it is not known."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        found = None
    return int(found[1]) << 10 if found else MOST_GIB << 30


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory: Python's, numpy's, the system's, a GPU's, or that of
    torch's allocator."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | ImportError) and any(sign in str(error) for sign in _SIGNS)


_SIGNS = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "bad_alloc", "unable to mmap", "failed to map segment")
