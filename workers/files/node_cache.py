"""Checkpoints of other jobs, once for all runs on a node that use them at the same time.

Files are found by their SHA-256, and every run that uses one holds a link of its own: the number of links says whether
anybody still does, also after a run was killed and its scratch folder removed.
"""

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from workers.files import scratch


class NodeCache:
    def __init__(self) -> None:
        self._folder = scratch.parent() / f"fgd-checkpoints-{os.getuid()}"

    def take(self, sha256: str, target: Path) -> bool:
        """Put the file with this digest at `target`; whether the node had it whole."""
        try:
            if not self._is_ours():
                return False
            os.link(self._folder / sha256, target)
            with target.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                    return True
            # Cut short, as when the machine lost its power.
            target.unlink()
            (self._folder / sha256).unlink()
        except OSError:
            return False
        return False

    def give(self, sha256: str, source: Path) -> None:
        """Let others on the node have a file that was verified. Never raises."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if self._is_ours():
                os.link(source, self._folder / sha256)

    def prune(self) -> None:
        """Remove what nobody uses. Never raises."""
        with suppress(OSError):
            if self._is_ours():
                for path in self._folder.iterdir():
                    if path.lstat().st_nlink == 1:
                        path.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        """Lest somebody else on this machine has put up a folder of that name, with weights of his own."""
        facts = self._folder.lstat()
        return facts.st_uid == os.getuid() and stat.S_ISDIR(facts.st_mode)
