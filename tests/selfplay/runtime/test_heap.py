"""Freed memory goes back to the system."""

import subprocess
import sys

FREED = """
import resource
from sparring.selfplay.runtime.heap import trim_heap
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
blocks = [bytearray(b"1" * 100_000) for _ in range(1000)]
last = bytearray(b"1" * 100_000)
del blocks
before = resident()
trim_heap()
print(before - resident())
"""


def test_freed_memory_is_given_back():
    freed = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert int(freed.stdout) > 50, "of 100 MB below the last block that is in use"
