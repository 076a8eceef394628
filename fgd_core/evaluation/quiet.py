"""Runs of one user on one device of one machine give way to each other, so that a speed is measured while nobody works.

Two files for each device, locked by `flock`: every run holds the first one shared while it works, and whoever measures
takes it alone. The second one is a turnstile: whoever waits to measure holds it, and so runs that come back from an
evaluation wait instead of overtaking. A process that dies leaves no lock behind.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fgd_core.stopping import raise_if_stopped

GIVE_WAY_S = 60.0
"""Longer than a measurement can take: a run that holds its lock longer has stopped."""
_POLL_S = 0.05
_SHORT_S = 1.0
"""A wait that is over by then asks nobody whether to stop."""


class Presence:
    """This process's work on one device. Safe where the folder cannot be had: then nobody is ever known to be alone.

    Args:
        folder: made if it is not there; only if it is this user's alone is anything locked in it.
        device: a file's name.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._work = _opened(folder, f"{device}.work")
        self._turnstile = _opened(folder, f"{device}.turnstile")

    def enter(self) -> None:
        """From now on this process works on the device."""
        if self._work is not None:
            _lock(self._work, fcntl.LOCK_SH, 0)

    def give_way(self) -> None:
        """Lets a waiting run measure first. Call it between two stretches of work."""
        if self._work is None or self._turnstile is None:
            return
        fcntl.flock(self._work, fcntl.LOCK_UN)
        # Those who wait hold the turnstile.
        try:
            if _lock(self._turnstile, fcntl.LOCK_SH, GIVE_WAY_S):
                _lock(self._work, fcntl.LOCK_SH, GIVE_WAY_S)
        finally:
            fcntl.flock(self._turnstile, fcntl.LOCK_UN)

    def leave(self) -> None:
        if self._work is not None:
            fcntl.flock(self._work, fcntl.LOCK_UN)

    @contextmanager
    def alone(self, wait_s: float) -> Iterator[bool]:
        """Whether no other run works on the device until the end of the block.

        Args:
            wait_s: for the others to come to their next evaluation.
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
            # Not to be had at once where this run is not alone and another one measures: it is about to end anyway.
            _lock(self._work, fcntl.LOCK_SH, 0)
            fcntl.flock(self._turnstile, fcntl.LOCK_UN)


def _opened(folder: Path, name: str) -> int | None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            return None
        return os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None


def _lock(file: int, kind: int, wait_s: float) -> bool:
    """
    Raises:
        Stopped: the run that waits has been asked to stop.
    """
    deadline_s, ask_s = time.monotonic() + wait_s, time.monotonic() + _SHORT_S
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline_s:
                return False
            if time.monotonic() >= ask_s:
                raise_if_stopped()
            time.sleep(_POLL_S)
        else:
            return True
