"""Opens files for reading, only inside the folders that the control plane allows.

The check comes after the file was opened and looks at the open file itself: at that moment nobody can replace the file
by a link. Without limits from a control plane, for example on a laptop, all links are followed. A hard link looks the
same as the file itself, so it is not detected.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from fgd_core.spec.readable import JOBS, ROOTS


class OutsideError(PermissionError):
    """The file is outside the folders that a run may read."""


def allow(folder: Path) -> None:
    """Let this process, and processes that it starts later, read another folder. The folder itself must not be a
    link."""
    if ROOTS in os.environ:
        os.environ[ROOTS] += f"{os.pathsep}{os.path.realpath(folder.parent)}/{folder.name}"


def is_limited() -> bool:
    """Return whether the control plane limits the files that this run may read."""
    return ROOTS in os.environ


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open a file for reading.

    Raises:
        OutsideError: the file is outside the allowed folders, directly or through a link.
        OSError: the file cannot be opened, or is not a regular file.
    """
    with os.fdopen(open_file(path), "rb") as file:
        yield file


def open_file(path: Path | str) -> int:
    """Open a file for reading; returns its descriptor, which the caller closes.

    Raises:
        OSError: as in `opened`.
    """
    bounds = _bounds()
    if bounds is None:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    # Non-blocking: a named pipe would block the run until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check(_path_of(descriptor, path), path, bounds)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OutsideError(errno.EACCES, "it is not a regular file; only regular files can be read", str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def pinned(path: Path) -> Iterator[Path]:
    """Yield a path that leads to exactly this file during the context, even if the file at `path` is replaced
    meanwhile.

    Raises:
        OSError: as in `opened`.
    """
    if not is_limited():
        yield path
        return
    with opened(path) as file:
        held = Path(f"/proc/self/fd/{file.fileno()}")
        yield held if held.exists() else path


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: as in `opened`.
    """
    with opened(path) as file:
        return file.read()


def check_folder(folder: Path) -> None:
    """Check that a run may list a folder.

    Raises:
        OutsideError: it may not.
    """
    if (bounds := _bounds()) is not None:
        _check(os.path.realpath(folder), folder, bounds)


class _Bounds(NamedTuple):
    inside: tuple[str, ...]
    jobs: str | None


def _bounds() -> _Bounds | None:
    roots = os.environ.get(ROOTS)
    return _read(roots, os.environ.get(JOBS, "")) if roots is not None else None


@lru_cache(maxsize=8)
def _read(roots: str, jobs: str) -> _Bounds:
    named = [root for root in roots.split(os.pathsep) if root]
    return _Bounds(tuple(map(_real, named)), os.path.realpath(jobs) if jobs else None)


def _real(root: str) -> str:
    """Follow the links on the way to a root, but not a link in place of a job's folder: it could lead to another
    job's."""
    parent, name = os.path.split(root.rstrip("/") or "/")
    jobs = os.environ.get(JOBS)
    is_of_job = jobs and os.path.realpath(parent) == os.path.realpath(jobs)
    return f"{os.path.realpath(parent)}/{name}" if is_of_job else os.path.realpath(root)


def _path_of(descriptor: int, path: Path | str) -> str:
    """Return the real path of an open file."""
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except FileNotFoundError:
        # Not on Linux: the real path of `path`, if it is still the file that was opened.
        real = os.path.realpath(path)
        if os.path.samestat(Path(real).stat(), os.fstat(descriptor)):
            return real
        raise OutsideError(errno.EACCES, "the file was replaced while it was opened; try again", str(path)) from None


def _check(real: str, path: Path | str, bounds: _Bounds) -> None:
    around = [root for root in bounds.inside if _lies_in(real, root)]
    if bounds.jobs is not None and _lies_in(real, bounds.jobs):
        around = [root for root in around if root.startswith(f"{bounds.jobs}/")]
    if not around:
        cure = "put the file itself there instead of a link, or name a job's checkpoint as job:<id>/best"
        raise OutsideError(errno.EACCES, f"it is outside the folders that jobs may read; {cure}", str(path))


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
