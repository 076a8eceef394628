"""Stores driver logs, which Ray loses with the cluster.

Each attempt has one file. While the run is active, the file is a copy that is renewed from time to time; when the
attempt has ended, the file is the whole log, and only then an artifact of the job.
"""

import hashlib
from datetime import datetime, timedelta

from fgd_core.errors import ClusterError
from fgd_core.spec.events import ArtifactSaved
from service.dispatcher.cluster import Cluster, ClusterAwayError
from service.storage import threads
from service.storage.base import Storage
from service.storage.paths import job_folder
from service.store import attempts
from service.store.session import Database
from service.store.tables import Attempt

_COPY_EVERY_S = 60.0
_MAX_CHECKED = 100
# Ray sends only whole logs, so a large log is copied less often.
_EXTRA_PAUSE_PER_BYTE_S = 60.0 / 1_000_000


def name(attempt: Attempt) -> str:
    """The name of the log as an artifact of its job."""
    return f"attempt-{attempt.number}.log"


def path(attempt: Attempt) -> str:
    """The path of the log in the storage."""
    return f"{job_folder(attempt.job_id)}/logs/{name(attempt)}"


async def archive(cluster: Cluster, attempt: Attempt, storage: Storage) -> ArtifactSaved | None:
    """Copy the driver log of an ended attempt into the storage; a repeated call leaves one file.

    An earlier, longer copy is kept if the cluster has lost the run or a part of its log.

    Returns:
        The artifact; None if the log is empty.
    Raises:
        ClusterError: Ray is unreachable, or refuses.
        StorageError: the file cannot be written.
    """
    content = await _write_if_longer(storage, path(attempt), (await cluster.logs(attempt.submission_id)).stored)
    return _saved(storage, attempt, content) if content else None


async def archive_gap(attempt: Attempt, storage: Storage, cause: str) -> ArtifactSaved:
    """Append to the stored log of an ended attempt a note that the rest could not be read from Ray.

    Raises:
        StorageError: the file cannot be written.
    """
    note = f"-- fgd: the rest of this log could not be read: {cause} --\n".encode()

    def write() -> bytes:
        copied = storage.read(path(attempt)) if storage.find(path(attempt)) is not None else b""
        if copied.endswith(note):
            return copied
        content = copied + (b"\n" if copied and not copied.endswith(b"\n") else b"") + note
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
    """Find active attempts whose log was not copied for a minute, those with the oldest copy first.

    Args:
        at_most: a limit, because each copy is a request to the cluster.
    """
    before = now - timedelta(seconds=_COPY_EVERY_S)
    async with database.reading() as session:
        waiting = await attempts.with_old_copies(session, before, at_most=_MAX_CHECKED)
    found: list[Attempt] = []
    for attempt in waiting:
        if len(found) == at_most:
            break
        # The size may have to be read from another machine, so it is read only for attempts that may be due.
        if attempt.log_kept_at is None or await threads.run(_is_due, attempt, storage, now):
            found.append(attempt)
    return found


async def copy(database: Database, cluster: Cluster, storage: Storage, attempt: Attempt, now: datetime) -> None:
    """Copy the log of an active attempt into the storage.

    Raises:
        ClusterError: Ray refuses; the attempt is tried again after all others.
        StorageError: the copy cannot be written.
    """
    try:
        content = (await cluster.logs(attempt.submission_id)).stored
        await _write_if_longer(storage, path(attempt), content)
    except ClusterError as error:
        if not isinstance(error, ClusterAwayError):
            await _record_copy(database, attempt, now)
        raise
    await _record_copy(database, attempt, now)


async def _record_copy(database: Database, attempt: Attempt, now: datetime) -> None:
    async with database.writing() as session:
        await attempts.record_log_copy(session, attempt.id, now)


def _is_due(attempt: Attempt, storage: Storage, now: datetime) -> bool:
    assert attempt.log_kept_at is not None
    extra_s = _EXTRA_PAUSE_PER_BYTE_S * _size_bytes(storage, path(attempt))
    return (now - attempt.log_kept_at).total_seconds() >= _COPY_EVERY_S + extra_s


async def _write_if_longer(storage: Storage, where: str, content: bytes) -> bytes:
    """Write `content` unless the stored file is longer; returns what is stored afterwards."""

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
