"""How long ago this process began, its interpreter's start and its imports included."""

import os
import time
from pathlib import Path


def process_age_s() -> float:
    """Seconds, to a hundredth; since this module's import where the system has no /proc."""
    try:
        # The name of a process, in brackets, may hold anything; the start is the 20th field after it.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.monotonic() - _IMPORTED


_IMPORTED = time.monotonic()
