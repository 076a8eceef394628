"""Decides which paths a spec may name."""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from fgd_core.spec.views import ProblemReason

_LONGEST = 4096
"""The most bytes in a path on Linux."""

EVERYWHERE = (PurePosixPath("/"),)


@dataclass(frozen=True, kw_only=True)
class Places:
    """The folders that jobs may read."""

    roots: Sequence[PurePosixPath] = EVERYWHERE
    """Folders in which paths must lie."""
    of_jobs: PurePosixPath | None = None
    """Folder with the files of jobs, which no spec may name by path; None: every spec may."""
    resolved: Mapping[str, PurePosixPath] = field(default_factory=dict)
    """Path -> its target after symbolic links; a path that is not here stands for itself."""


ANYWHERE = Places()


def malformed(loc: str, path: str) -> ProblemReason | None:
    """Say why this cannot be a path at all; None if it can."""
    if "\x00" in path:
        return ProblemReason(loc=loc, code="bad_path", message="a path cannot contain a NUL character; remove it")
    if len(path.encode(errors="surrogatepass")) > _LONGEST:
        message = f"a path has at most {_LONGEST} bytes, and this one is longer; shorten it"
        return ProblemReason(loc=loc, code="bad_path", message=message)
    if "://" in path:
        message = (
            f"{path[:100]!r} is a URL, and fgd downloads nothing for a job; put the file on a disk and write its path"
        )
        return ProblemReason(loc=loc, code="url", message=message)
    return None


def outside(loc: str, path: str, places: Places) -> ProblemReason | None:
    """Say why a job may not read an absolute path; the answer does not reveal whether a file exists there."""
    leads_to = places.resolved.get(path) or PurePosixPath(posixpath.normpath(path))
    if not any(_lies_in(leads_to, root) for root in places.roots):
        roots = ", ".join(str(root) for root in places.roots) or "none"
        message = (
            f"{path[:200]!r} is outside the folders that jobs may read: {roots}; move it there, or ask an admin to "
        )
        return ProblemReason(loc=loc, code="outside_data_roots", message=f"{message}add its folder to FGD_DATA_ROOTS")
    if places.of_jobs is not None and _lies_in(leads_to, places.of_jobs):
        message = f"{path[:200]!r} belongs to a job; refer to it as job:<id>/best or job:<id>/last"
        return ProblemReason(loc=loc, code="path_of_a_job", message=message)
    return None


def _lies_in(path: PurePosixPath, root: PurePosixPath) -> bool:
    # pathlib treats "//x" as another root than "/x"; on Linux the two are the same.
    return PurePosixPath("/", *path.parts[1:]).is_relative_to(root)
