"""The folder that a local Ray head works in, below the system's folder for temporary files, which everybody may write.

Ray opens its own folder to everybody (0777). So it lies in another one, which is ours alone.
"""

import contextlib
import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from fgd_core.errors import ClusterError


def make(home: Path) -> Path:
    """A new, empty folder for one head.

    Raises:
        ClusterError: somebody else made the folder that is to hold it, or it is a link, or no folder.
    """
    outer = _outer(home)
    with contextlib.suppress(FileExistsError):
        outer.mkdir(mode=0o700)
    # Opened without following a link, and then asked and closed to others as what was opened.
    try:
        descriptor = os.open(outer, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as cause:
        raise _not_ours(outer, "is a link or no folder") from cause
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise _not_ours(outer, f"belongs to another user (id {status.st_uid})")
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.fchmod(descriptor, 0o700)
        # Its name is nobody's to know in advance: while the outer folder stood open, others may have left things there.
        inner = secrets.token_hex(2)
        while True:
            try:
                os.mkdir(inner, 0o700, dir_fd=descriptor)
            except FileExistsError:
                inner = secrets.token_hex(2)
            else:
                return outer / inner
    finally:
        os.close(descriptor)


def remove_empty(folder: Path) -> None:
    """Remove the outer folder of a head's folder once nothing is left in it."""
    if folder.parent.name.startswith(_PREFIX):
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


_PREFIX = "fgd-"


def _outer(home: Path) -> Path:
    """A short path: Ray's sockets lie some 70 characters below it, and the system allows them 107 (macOS: 103)."""
    root = Path(tempfile.gettempdir())
    if len(str(root)) > 15:
        root = Path("/tmp")
    return root / f"{_PREFIX}{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"


def _not_ours(folder: Path, why: str) -> ClusterError:
    return ClusterError(
        f"the folder for the local Ray, {folder}, {why}; remove it, or set TMPDIR to a folder of your own",
        path=str(folder),
    )
