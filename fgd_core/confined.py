"""Opens files for reading where the control plane says which folders a run may read.

Whether a path leads out of them is seen after the file was opened, on the open file itself: by then nobody can put a
link in its place any more. Without a word from a control plane, on a laptop, links are followed wherever they lead.
A hard link cannot be told from the file itself.
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
    """The file lies outside of the folders that a run may read."""


def allow(folder: Path) -> None:
    """Let this process, and those that it starts from now on, read a folder besides. The folder itself is no link."""
    if ROOTS in os.environ:
        os.environ[ROOTS] += f"{os.pathsep}{os.path.realpath(folder.parent)}/{folder.name}"


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """
    Raises:
        OutsideError: it lies outside, however the path leads there.
        OSError: it cannot be opened, or is no plain file.
    """
    with os.fdopen(_open(path), "rb") as file:
        yield file


@contextmanager
def pinned(path: Path) -> Iterator[Path]:
    """A path that leads to this very file for as long as the context lasts, whatever is put in its place meanwhile.

    Raises: as `opened`.
    """
    if ROOTS not in os.environ:
        yield path
        return
    with opened(path) as file:
        held = Path(f"/proc/self/fd/{file.fileno()}")
        yield held if held.exists() else path


def read_bytes(path: Path) -> bytes:
    """Raises: as `opened`."""
    with opened(path) as file:
        return file.read()


def check_folder(folder: Path) -> None:
    """Raises OutsideError where a run may not list a folder."""
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
    """Links in the way to a root are followed; a job's folder is none, or it were another job's."""
    parent, name = os.path.split(root.rstrip("/") or "/")
    jobs = os.environ.get(JOBS)
    is_of_job = jobs and os.path.realpath(parent) == os.path.realpath(jobs)
    return f"{os.path.realpath(parent)}/{name}" if is_of_job else os.path.realpath(root)


def _open(path: Path) -> int:
    bounds = _bounds()
    if bounds is None:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    # Without waiting: a named pipe would hold up the run until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check(_path_of(descriptor, path), path, bounds)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OutsideError(errno.EACCES, "it is no plain file, and nothing else is read", str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _path_of(descriptor: int, path: Path) -> str:
    """Where an open file lies, links followed."""
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except FileNotFoundError:
        # No Linux: where the path leads now, if that is the file that was opened.
        real = os.path.realpath(path)
        if os.path.samestat(Path(real).stat(), os.fstat(descriptor)):
            return real
        raise OutsideError(errno.EACCES, "it was replaced while it was opened", str(path)) from None


def _check(real: str, path: Path, bounds: _Bounds) -> None:
    around = [root for root in bounds.inside if _lies_in(real, root)]
    if bounds.jobs is not None and _lies_in(real, bounds.jobs):
        around = [root for root in around if root.startswith(f"{bounds.jobs}/")]
    if not around:
        cure = "put the file itself there in place of a link, or refer to a job's as job:<id>/best"
        raise OutsideError(errno.EACCES, f"it lies outside of the folders that jobs may read; {cure}", str(path))


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
