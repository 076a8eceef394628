"""Creates the folder for a local Ray head, in the system's folder for temporary files, where every user may write.

Ray opens its folder to all users (0777), so it lies in another folder that only we can enter.
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
    """Create a new, empty folder for one head.

    Raises:
        ClusterError: the outer folder belongs to another user, or is a link or no folder.
    """
    outer = _outer(home)
    with contextlib.suppress(FileExistsError):
        outer.mkdir(mode=0o700)
    # Opened without following a link; all checks and changes use the open descriptor.
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
        # A random name: while the outer folder was open, other users may have put files into it.
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
    """Remove the outer folder of a head's folder if it is empty."""
    if folder.parent.name.startswith(_PREFIX):
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


_PREFIX = "fgd-"


def _outer(home: Path) -> Path:
    """Return a short path: Ray's sockets add some 70 characters, and the system allows 107 (macOS: 103)."""
    root = Path(tempfile.gettempdir())
    if len(str(root)) > 15:
        root = Path("/tmp")
    return root / f"{_PREFIX}{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"


def _not_ours(folder: Path, why: str) -> ClusterError:
    return ClusterError(
        f"the folder for the local Ray, {folder}, {why}; remove it, or set TMPDIR to a folder of your own",
        path=str(folder),
    )
