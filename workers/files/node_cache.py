"""A cache of other jobs' checkpoints: one file on a node for all runs that use it at the same time.

Files are named by their SHA-256. Every run that uses a file has its own hard link to it, so the number of links
says whether any run still uses the file, even after a run was killed and its scratch folder removed.
"""

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from workers.files import scratch


class NodeCache:
    """Links cached checkpoints into the folders of runs."""

    def __init__(self) -> None:
        self._folder = scratch.parent() / f"fgd-checkpoints-{os.getuid()}"

    def take(self, sha256: str, target: Path) -> bool:
        """Link the file with this digest to `target`; returns True if the cache had it and it is intact."""
        try:
            if not self._is_ours():
                return False
            os.link(self._folder / sha256, target)
            with target.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                    return True
            # The file is incomplete, for example because the machine lost its power.
            target.unlink()
            (self._folder / sha256).unlink()
        except OSError:
            return False
        return False

    def give(self, sha256: str, source: Path) -> None:
        """Add a verified file to the cache. Never raises."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if self._is_ours():
                os.link(source, self._folder / sha256)

    def prune(self) -> None:
        """Remove the files that no run uses. Never raises."""
        with suppress(OSError):
            if self._is_ours():
                for path in self._folder.iterdir():
                    if path.lstat().st_nlink == 1:
                        path.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        """Check the owner: another user of this machine could make a folder of this name, with other weights in it."""
        facts = self._folder.lstat()
        return facts.st_uid == os.getuid() and stat.S_ISDIR(facts.st_mode)
