"""Facts about the paths in a spec, as far as this server shares a disk with the runs."""

import asyncio
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from service.jobs import confinement
from service.jobs.admission_facts import Facts
from service.jobs.cluster import Capacity
from service.jobs.confinement import Places
from service.jobs.named_paths import NamedPath, PathKind
from service.settings import Settings


async def facts(paths: Sequence[NamedPath], settings: Settings, capacity: Capacity | None = None) -> Facts:
    """Return the facts that admission needs about some paths. It reads the disk only if the runs share this machine."""
    of_jobs = settings.jobs_of_others
    named = [item.path for item in paths if confinement.malformed(item.loc, item.path) is None]
    if not settings.local_cluster or not named:
        return Facts(capacity=capacity, places=_places(settings.data_roots, of_jobs, {}))
    return await asyncio.to_thread(_on_disk, named, of_jobs, settings, capacity)


def _on_disk(named: Sequence[str], of_jobs: Path | None, settings: Settings, capacity: Capacity | None) -> Facts:
    return Facts(
        capacity=capacity,
        paths={path: _kind(path) for path in named},
        places=_places(
            [_resolved(root) for root in settings.data_roots],
            _resolved(of_jobs) if of_jobs is not None else None,
            {path: PurePosixPath(_resolved(Path(path))) for path in named},
        ),
    )


def _places(roots: Sequence[Path], of_jobs: Path | None, resolved: dict[str, PurePosixPath]) -> Places:
    return Places(
        roots=[PurePosixPath(root) for root in roots],
        of_jobs=PurePosixPath(of_jobs) if of_jobs is not None else None,
        resolved=resolved,
    )


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        # A loop of links, or a folder without permission: nothing at this path can be read.
        return path


def _kind(path: str) -> PathKind | None:
    try:
        if Path(path).is_dir():
            return "folder"
        return "file" if Path(path).is_file() else None
    except (OSError, ValueError):
        # A path that we may not look at, for example in a folder without permission, does not exist for us.
        return None
