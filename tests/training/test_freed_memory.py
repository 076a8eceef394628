"""Memory that a step frees is there for the next one."""

import subprocess
import sys

import pytest

_COUNTS_FAULTS = """
import resource, sys
from fgd_core.training.freed_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

default = [faults() for _ in range(3)][-1]
kept = keep_freed_memory()
print(default, [faults() for _ in range(3)][-1], kept)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    # In a process of its own, because the setting lasts.
    done = subprocess.run([sys.executable, "-c", _COUNTS_FAULTS], capture_output=True, text=True, check=True)
    default, faults, kept = done.stdout.split()
    if kept == "False":
        pytest.skip("the C library keeps its own ways")
    assert int(default) > 1000
    assert int(faults) < 100
