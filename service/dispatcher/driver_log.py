"""Keeps what a run printed: Ray forgets it with the cluster.

One file an attempt. While the run is under way it is a copy made now and then; when the attempt has ended it is the
whole log, and only then an artifact of the job.
"""

import hashlib
from datetime import datetime, timedelta

from fgd_core.errors import ClusterError, StorageError
from fgd_core.spec.events import ArtifactSaved
from service.dispatcher.cluster import Cluster, ClusterAwayError
from service.storage import threads
from service.storage.base import Storage
from service.storage.paths import job_folder
from service.store import attempts
from service.store.session import Database
from service.store.tables import Attempt

_COPY_EVERY_S = 60.0
_MAX_LOOKED_AT = 100
# Ray hands out a log as a whole only: a large one is asked for less often.
_LONGER_FOR_EACH_BYTE_S = 60.0 / 1_000_000


def name(attempt: Attempt) -> str:
    return f"attempt-{attempt.number}.log"


def path(attempt: Attempt) -> str:
    """In the storage."""
    return f"{job_folder(attempt.job_id)}/logs/{name(attempt)}"


async def keep(cluster: Cluster, attempt: Attempt, storage: Storage) -> ArtifactSaved | None:
    """Copy the driver log of an ended attempt into storage; doing so twice leaves one file.

    A cluster that has forgotten the run, or has lost a part of its log, does not undo an earlier, longer copy.

    Returns:
        None where there is nothing to keep.
    Raises:
        ClusterError: the cluster cannot be asked, or refuses.
        StorageError: it cannot be written.
    """
    content = await _write_if_longer(storage, path(attempt), (await cluster.logs(attempt.submission_id)).stored)
    return _saved(storage, attempt, content) if content else None


async def keep_gap(attempt: Attempt, storage: Storage, why: str) -> ArtifactSaved:
    """Note in the log of an ended attempt that the rest of it could not be had, behind what was copied earlier.

    Raises:
        StorageError: it cannot be written.
    """
    note = f"-- fgd: the rest of this log could not be had: {why} --\n".encode()

    def write() -> bytes:
        kept = storage.read(path(attempt)) if storage.find(path(attempt)) is not None else b""
        if kept.endswith(note):
            return kept
        content = kept + (b"\n" if kept and not kept.endswith(b"\n") else b"") + note
        storage.write(path(attempt), content)
        return content

    return _saved(storage, attempt, await threads.run(write))


def _saved(storage: Storage, attempt: Attempt, content: bytes) -> ArtifactSaved:
    return ArtifactSaved(
        name=name(attempt),
        uri=storage.uri_of(path(attempt)),
        media_type="text/plain; charset=utf-8",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


async def due(database: Database, storage: Storage, now: datetime, *, at_most: int = 4) -> list[Attempt]:
    """Attempts under way whose log has not been copied for a minute, the longest waiting first.

    Args:
        at_most: so many, for each is a request to the cluster.
    """
    before = now - timedelta(seconds=_COPY_EVERY_S)
    async with database.reading() as session:
        waiting = await attempts.with_old_copies(session, before, at_most=_MAX_LOOKED_AT)
    found: list[Attempt] = []
    for attempt in waiting:
        if len(found) == at_most:
            break
        # The size may have to be asked of another machine, so it is asked only of those that may be due.
        if attempt.log_kept_at is None or await threads.run(_is_due, attempt, storage, now):
            found.append(attempt)
    return found


async def copy(database: Database, cluster: Cluster, storage: Storage, attempt: Attempt, now: datetime) -> None:
    """Copy the log of an attempt under way.

    Raises:
        ClusterError: the cluster refuses; the attempt's turn comes again when all others have had theirs.
        StorageError: the copy cannot be written.
    """
    try:
        content = (await cluster.logs(attempt.submission_id)).stored
        await _write_if_longer(storage, path(attempt), content)
    except (ClusterAwayError, StorageError):
        raise
    except ClusterError:
        await _note_turn(database, attempt, now)
        raise
    await _note_turn(database, attempt, now)


async def _note_turn(database: Database, attempt: Attempt, now: datetime) -> None:
    async with database.writing() as session:
        await attempts.record_log_copy(session, attempt.id, now)


def _is_due(attempt: Attempt, storage: Storage, now: datetime) -> bool:
    assert attempt.log_kept_at is not None
    longer_s = _LONGER_FOR_EACH_BYTE_S * _size_bytes(storage, path(attempt))
    return (now - attempt.log_kept_at).total_seconds() >= _COPY_EVERY_S + longer_s


async def _write_if_longer(storage: Storage, where: str, content: bytes) -> bytes:
    """Returns what is there afterwards."""

    def write() -> bytes:
        if _size_bytes(storage, where) > len(content):
            return storage.read(where)
        if content:
            storage.write(where, content)
        return content

    return await threads.run(write)


def _size_bytes(storage: Storage, where: str) -> int:
    found = storage.find(where)
    return found.size_bytes if found is not None else 0
