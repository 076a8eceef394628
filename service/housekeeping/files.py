"""What housekeeping asks of the storage: what belongs to no job, and what has been heard of an outbox."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from service.storage.base import Storage
from service.storage.errors import FileGoneError
from service.storage.paths import job_folder, name_of

_ORPHANS = "orphans"
"""A file for each folder of no job: when it was first seen to be that. A day of grace counted from its last change
would be none where the database was restored from a backup, and knows nothing of the jobs of last week."""
_OUTBOX = re.compile(r"attempt-(?P<number>\d+)-(?P<stream>[A-Za-z0-9_.-]+)\.(jsonl|consumed)")


class Orphan(NamedTuple):
    name: str
    size_bytes: int
    seen_at: datetime | None
    """When it was first seen to belong to no job; None: now."""


def look_at_orphan(storage: Storage, name: str) -> Orphan:
    size_bytes = sum(file.size_bytes for file in storage.listing(job_folder(name)))
    try:
        seen_at = datetime.fromisoformat(storage.read(_mark(name)).decode())
    except (FileGoneError, ValueError):
        seen_at = None
    return Orphan(name, size_bytes, seen_at)


def note_orphan(storage: Storage, name: str, now: datetime) -> None:
    storage.write(_mark(name), now.isoformat().encode())


def remove_orphan(storage: Storage, name: str) -> None:
    storage.delete_folder(job_folder(name))
    storage.delete(_mark(name))


def forget_marks(storage: Storage, *, but: set[str]) -> None:
    """Take the marks off what belongs to a job after all, or is gone."""
    for file in storage.listing(_ORPHANS):
        if file.path not in but:
            storage.delete(f"{_ORPHANS}/{file.path}")


def is_heard(storage: Storage, folder: str, outbox_file: str, last_heard: Mapping[tuple[int, str], int]) -> bool:
    """Whether all that a run wrote into its outbox file is stored.

    Args:
        last_heard: (attempt's number, stream) -> sequence.
    """
    named = _OUTBOX.fullmatch(name_of(outbox_file))
    if named is None:
        return False
    stored = last_heard.get((int(named["number"]), named["stream"]), 0)
    try:
        written = f"{folder}/{outbox_file.removesuffix(named[3])}jsonl"
        return _last_sequence(storage, written) <= stored
    except (ValueError, KeyError, TypeError):
        return False


def _mark(name: str) -> str:
    return f"{_ORPHANS}/{name}"


def _last_sequence(storage: Storage, path: str) -> int:
    """Of the last whole line, 0 where there is none."""
    try:
        content = storage.read(path)
    except FileGoneError:
        return 0
    whole = content[: content.rfind(b"\n") + 1].rstrip(b"\n")
    return int(json.loads(whole[whole.rfind(b"\n") + 1 :])["sequence"]) if whole else 0
