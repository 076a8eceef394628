"""Locks a control plane's home folder against a second process."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fgd_core.errors import FgdError


@contextmanager
def locked(file: Path, refuse: Callable[[str], FgdError]) -> Iterator[None]:
    """Hold an exclusive lock on `file` while the block runs. The lock ends with the process in any case.

    Args:
        refuse: makes the error to raise, from the id of the process that holds the lock.
    Raises:
        FgdError: another process holds the lock.
        OSError: the file cannot be written.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refuse(os.read(descriptor, 20).decode().strip()) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
