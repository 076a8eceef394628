"""Scratch folders on a node: each one belongs to a process, and is removed with it.

The process holds a kernel lock in its folder. A free lock means that the process died, so that the next process can
remove the folder.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from fgd_core.errors import StorageError

VARIABLE = "FGD_SCRATCH"
_PREFIX = "fgd-"
_LOCK = "scratch.lock"


class Scratch:
    """Makes a folder that belongs to this process.

    Args:
        name: a part of the folder's name, for people who look at the disk.
    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, name: str) -> None:
        self._lock = -1
        try:
            self._make(name)
        except OSError:
            self.close()
            # The folders of dead processes may fill the disk.
            remove_abandoned()
            try:
                self._make(name)
            except OSError as error:
                self.close()
                raise StorageError(
                    f"this node has no space for a scratch folder; set {VARIABLE} to a folder on another disk",
                    path=str(parent()),
                    cause=str(error),
                ) from error

    def close(self) -> None:
        """Remove the folder; idempotent."""
        if hasattr(self, "folder"):
            _remove(self.folder)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _make(self, name: str) -> None:
        parent().mkdir(parents=True, exist_ok=True)
        # No other user can read this folder, and it is never one that another user has made.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{name}-", dir=parent())).resolve()
        # Lock the file before it gets its name: a free lock of that name means a dead process.
        incoming = self.folder / f".{_LOCK}"
        self._lock = os.open(incoming, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        incoming.rename(self.folder / _LOCK)


def parent() -> Path:
    """Return the folder that contains all scratch folders."""
    return Path(os.environ.get(VARIABLE) or tempfile.gettempdir()).absolute()


def remove_abandoned() -> None:
    """Remove the folders of this user's processes that died on this node. Never raises."""
    for folder in parent().glob(f"{_PREFIX}*"):
        with suppress(OSError):
            facts = folder.lstat()
            if facts.st_uid != os.getuid() or not stat.S_ISDIR(facts.st_mode):
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
            finally:
                os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last: `remove_abandoned` skips a folder without a lock, if this is killed before."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
