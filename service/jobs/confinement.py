"""Where the paths of a spec may lie."""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from fgd_core.spec.views import ProblemReason

_LONGEST = 4096
"""Bytes that Linux takes for a path."""

EVERYWHERE = (PurePosixPath("/"),)


@dataclass(frozen=True, kw_only=True)
class Places:
    roots: Sequence[PurePosixPath] = EVERYWHERE
    """Folders in which paths must lie."""
    of_jobs: PurePosixPath | None = None
    """Folder of what jobs leave behind, which nobody may name by path; None: anybody may."""
    resolved: Mapping[str, PurePosixPath] = field(default_factory=dict)
    """Path -> where it leads, symbolic links followed; what is not here is taken as it is written."""


ANYWHERE = Places()


def malformed(loc: str, path: str) -> ProblemReason | None:
    """Why this can be no path at all, wherever it were."""
    if "\x00" in path:
        return ProblemReason(loc=loc, code="bad_path", message="a path has no NUL character in it; remove it")
    if len(path.encode(errors="surrogatepass")) > _LONGEST:
        message = f"a path has at most {_LONGEST} bytes, and this one has more; shorten it"
        return ProblemReason(loc=loc, code="bad_path", message=message)
    if "://" in path:
        message = f"{path[:100]!r} is a URL, and nothing is fetched for a job; put the file on a disk, write its path"
        return ProblemReason(loc=loc, code="url", message=message)
    return None


def outside(loc: str, path: str, places: Places) -> ProblemReason | None:
    """Why a well-formed, absolute path may not be read; the same whether there is something or not."""
    leads_to = places.resolved.get(path) or PurePosixPath(posixpath.normpath(path))
    if not any(_lies_in(leads_to, root) for root in places.roots):
        roots = ", ".join(str(root) for root in places.roots) or "none"
        message = f"{path[:200]!r} lies outside of the folders that jobs may read: {roots}; move it there, or have an "
        return ProblemReason(loc=loc, code="outside_data_roots", message=f"{message}admin add its folder to them")
    if places.of_jobs is not None and _lies_in(leads_to, places.of_jobs):
        message = f"{path[:200]!r} belongs to a job; refer to it as job:<id>/best or job:<id>/last"
        return ProblemReason(loc=loc, code="path_of_a_job", message=message)
    return None


def _lies_in(path: PurePosixPath, root: PurePosixPath) -> bool:
    # "//x" is a root of its own to pathlib, and the same as "/x" to Linux.
    return PurePosixPath("/", *path.parts[1:]).is_relative_to(root)
