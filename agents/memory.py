"""Running out of memory, told from other errors without importing torch."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory: Python's and numpy's, a GPU's, or that of torch's allocator on a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


_SIGNS = ("can't allocate memory", "not enough memory", "bad_alloc", "Cannot allocate memory", "unable to mmap")
