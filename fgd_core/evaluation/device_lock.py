"""Lets one run measure its speed on a device while the other runs of the same user on the same machine wait.

Each device has two files, locked with `flock`. Every run holds the work file shared while it works; a measuring run
takes it exclusively. A run that waits to measure holds the turnstile file, so runs that return from an evaluation wait
there instead of overtaking. A process that dies leaves no lock behind.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fgd_core.stopping import raise_if_stopped

YIELD_LIMIT_S = 60.0
"""Longer than a measurement can take: a run that holds its lock longer has hung."""
_POLL_S = 0.05
_NO_STOP_CHECK_S = 1.0
"""A wait checks only after this time whether the run must stop."""


class DeviceLock:
    """Holds this process's lock on one device. Without a usable folder nothing is locked and no run is ever exclusive.

    Args:
        folder: created if missing; used only if it belongs to this user and no other user can access it.
        device: a file name.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._work = _open(folder, f"{device}.work")
        self._turnstile = _open(folder, f"{device}.turnstile")
        self._patience_s = YIELD_LIMIT_S

    def acquire(self) -> None:
        """Mark this process as working on the device."""
        if self._work is not None:
            _lock(self._work, fcntl.LOCK_SH, 0)

    def yield_device(self) -> None:
        """Let a waiting run measure first. Call this between two phases of work.

        A run that has hung, or was halted, keeps its lock: this one waits for it once and not at each call.
        """
        if self._work is None or self._turnstile is None:
            return
        fcntl.flock(self._work, fcntl.LOCK_UN)
        # Runs that wait to measure hold the turnstile.
        try:
            is_free = _lock(self._turnstile, fcntl.LOCK_SH, self._patience_s)
            is_free = is_free and _lock(self._work, fcntl.LOCK_SH, self._patience_s)
            self._patience_s = YIELD_LIMIT_S if is_free else 0.0
        finally:
            fcntl.flock(self._turnstile, fcntl.LOCK_UN)

    def release(self) -> None:
        """Mark this process as no longer working on the device."""
        if self._work is not None:
            fcntl.flock(self._work, fcntl.LOCK_UN)

    @contextmanager
    def exclusive(self, wait_s: float) -> Iterator[bool]:
        """Wait for exclusive use until the end of the block; yields False if another run still works on the device.

        Args:
            wait_s: how long to wait for the other runs to reach their next evaluation.
        """
        if self._work is None or self._turnstile is None:
            yield False
            return
        deadline_s = time.monotonic() + wait_s
        fcntl.flock(self._work, fcntl.LOCK_UN)
        try:
            is_next = _lock(self._turnstile, fcntl.LOCK_EX, wait_s)
            yield is_next and _lock(self._work, fcntl.LOCK_EX, deadline_s - time.monotonic())
        finally:
            # Without exclusive use, another run may measure now and this lock may fail: this run is about to end.
            _lock(self._work, fcntl.LOCK_SH, 0)
            fcntl.flock(self._turnstile, fcntl.LOCK_UN)


def _open(folder: Path, name: str) -> int | None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            return None
        return os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None


def _lock(file: int, kind: int, wait_s: float) -> bool:
    """Lock a file within `wait_s`; returns False if another process keeps its lock.

    Raises:
        Stopped: the waiting run was asked to stop.
    """
    deadline_s, stop_check_s = time.monotonic() + wait_s, time.monotonic() + _NO_STOP_CHECK_S
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline_s:
                return False
            if time.monotonic() >= stop_check_s:
                raise_if_stopped()
            time.sleep(_POLL_S)
        else:
            return True
