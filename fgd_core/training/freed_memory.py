"""Keeps freed memory in the process, so that the steps of a training on a CPU find it again without page faults."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""The numbers of the options in glibc's malloc.h."""
_MAX_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep what the process frees, until the process ends.

    By default glibc returns large blocks to the system. A step frees its feature maps, the next one asks for the same
    sizes, and the system clears each page anew.

    Returns:
        True if the C library is one that can do so; others stay as they are.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _MAX_INT) and mallopt(_MMAP_THRESHOLD, _MAX_INT))
