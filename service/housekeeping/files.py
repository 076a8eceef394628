"""Finds orphaned folders in the storage and outbox files whose events are all stored."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from service.storage.base import Storage
from service.storage.errors import FileGoneError
from service.storage.paths import job_folder, name_of

_ORPHANS = "orphans"
"""Holds one file for each orphaned folder, with the time of its discovery. The grace period starts at that time and not
at the folder's last change: a database restored from a backup does not know the jobs of last week, and their folders
would be deleted at once."""
_OUTBOX = re.compile(r"attempt-(?P<number>\d+)-(?P<stream>[A-Za-z0-9_.-]+)\.(jsonl|consumed)")


class Orphan(NamedTuple):
    """Describes a folder that belongs to no job."""

    name: str
    size_bytes: int
    found_at: datetime | None
    """When a pass first found that the folder belongs to no job; None if this pass is the first."""


def describe_orphan(storage: Storage, name: str) -> Orphan:
    """Return the size of an orphaned folder and the time of its discovery."""
    size_bytes = sum(file.size_bytes for file in storage.listing(job_folder(name)))
    try:
        found_at = datetime.fromisoformat(storage.read(_mark(name)).decode())
    except (FileGoneError, ValueError):
        found_at = None
    return Orphan(name, size_bytes, found_at)


def mark_orphan(storage: Storage, name: str, now: datetime) -> None:
    """Record that a pass found the orphaned folder at `now`."""
    storage.write(_mark(name), now.isoformat().encode())


def remove_orphan(storage: Storage, name: str) -> None:
    """Delete an orphaned folder and its mark."""
    storage.delete_folder(job_folder(name))
    storage.delete(_mark(name))


def remove_stale_marks(storage: Storage, *, orphans: set[str]) -> None:
    """Delete the marks of folders that are not in `orphans`: they belong to a job, or no longer exist."""
    for file in storage.listing(_ORPHANS):
        if file.path not in orphans:
            storage.delete(f"{_ORPHANS}/{file.path}")


def is_outbox_stored(
    storage: Storage, folder: str, outbox_file: str, last_received: Mapping[tuple[int, str], int]
) -> bool:
    """Return whether the database holds every event of a run's outbox file.

    Args:
        folder: the job's folder in the storage.
        last_received: (attempt number, stream) -> highest stored sequence.
    """
    named = _OUTBOX.fullmatch(name_of(outbox_file))
    if named is None:
        return False
    stored = last_received.get((int(named["number"]), named["stream"]), 0)
    try:
        written = f"{folder}/{outbox_file.removesuffix(named[3])}jsonl"
        return _last_sequence(storage, written) <= stored
    except (ValueError, KeyError, TypeError):
        return False


def _mark(name: str) -> str:
    return f"{_ORPHANS}/{name}"


def _last_sequence(storage: Storage, path: str) -> int:
    """Return the sequence of the last complete line; 0 if there is none."""
    try:
        content = storage.read(path)
    except FileGoneError:
        return 0
    whole = content[: content.rfind(b"\n") + 1].rstrip(b"\n")
    return int(json.loads(whole[whole.rfind(b"\n") + 1 :])["sequence"]) if whole else 0
