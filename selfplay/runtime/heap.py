"""Memory that a process has freed but keeps."""

import ctypes
import sys


def trim_heap() -> None:
    """Gives freed memory back to the system (malloc_trim of glibc; elsewhere nothing happens). Tensors of up to 32 MiB lie in the heap,
    which by itself shrinks at its end only: an update's activations would stay resident while the next games are played."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
