"""Folders of a node's own: each belongs to a process, and goes with it.

A lock of the kernel's says whether the process lives, so that whoever comes next can tell what is left behind.
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
    """
    Args:
        name: a part of the folder's, for people who look at the disk.
    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, name: str) -> None:
        self._lock = -1
        try:
            self._make(name)
        except OSError:
            self.close()
            # What the dead have left here may be what fills the disk.
            remove_abandoned()
            try:
                self._make(name)
            except OSError as error:
                self.close()
                raise StorageError(
                    f"this node has no room for a run to work in; set {VARIABLE} to a folder on a disk with free space",
                    path=str(parent()),
                    cause=str(error),
                ) from error

    def close(self) -> None:
        """Remove it all; idempotent."""
        if hasattr(self, "folder"):
            _remove(self.folder)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _make(self, name: str) -> None:
        parent().mkdir(parents=True, exist_ok=True)
        # Readable by nobody else, and never one that somebody else has made.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{name}-", dir=parent())).resolve()
        # Locked before it bears its name, for a lock that is free is a dead process's.
        incoming = self.folder / f".{_LOCK}"
        self._lock = os.open(incoming, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        incoming.rename(self.folder / _LOCK)


def parent() -> Path:
    return Path(os.environ.get(VARIABLE) or tempfile.gettempdir()).absolute()


def remove_abandoned() -> None:
    """Free what processes of this user left that died on this node. Never raises."""
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
    """The lock goes last: what has none is nobody's to remove, if this is killed half-way."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
