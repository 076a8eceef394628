"""Keeps what a run printed: Ray forgets it with the cluster.

One file an attempt. While the run is under way it is a copy made now and then; when the attempt has ended it is the
whole log, and only then an artifact of the job.
"""

import hashlib
from datetime import datetime, timedelta

from fgd_core.spec.events import ArtifactSaved
from service.dispatcher.cluster import Cluster
from service.storage import threads
from service.storage.base import Storage
from service.storage.paths import job_folder
from service.store import artifacts, attempts
from service.store.session import Database
from service.store.tables import Attempt

_COPY_EVERY_S = 60.0
# Ray hands out a log as a whole only: a large one is asked for less often.
_LONGER_FOR_EACH_BYTE_S = 60.0 / 1_000_000


def name(attempt: Attempt) -> str:
    return f"attempt-{attempt.number}.log"


def path(attempt: Attempt) -> str:
    """In the storage."""
    return f"{job_folder(attempt.job_id)}/logs/{name(attempt)}"


async def fetch(cluster: Cluster, attempt: Attempt) -> bytes:
    """What the cluster has of an attempt's log; nothing once it has forgotten the run.

    Raises:
        ClusterError: it cannot be asked.
    """
    return (await cluster.logs(attempt.submission_id)).encode("utf-8", "replace")


async def keep(cluster: Cluster, attempt: Attempt, storage: Storage) -> ArtifactSaved | None:
    """Copy the driver log of an ended attempt into storage; doing so twice leaves one file.

    A cluster that has forgotten the run, or has lost a part of its log, does not undo an earlier, longer copy.

    Returns:
        None where there is nothing to keep.
    Raises:
        ClusterError: the cluster cannot be asked.
        StorageError: it cannot be written.
    """
    content = await _write_if_longer(storage, path(attempt), await fetch(cluster, attempt))
    if not content:
        return None
    return ArtifactSaved(
        name=name(attempt),
        uri=storage.uri_of(path(attempt)),
        media_type="text/plain; charset=utf-8",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


async def register(database: Database, job_id: str, saved: ArtifactSaved, now: datetime) -> None:
    async with database.writing() as session:
        await artifacts.record(session, job_id, saved, now)


async def snapshot(database: Database, cluster: Cluster, storage: Storage, now: datetime, *, at_most: int = 4) -> None:
    """Copy the logs of attempts under way that have not been copied for a minute, the longest waiting first.

    Args:
        at_most: so many logs a call, for each is a request to the cluster.
    Raises:
        ClusterError: the cluster cannot be asked; what was copied stays.
        StorageError: a copy cannot be written.
    """
    async with database.reading() as session:
        running = [attempt for _, attempt in await attempts.active(session) if attempt.heartbeat_at is not None]
    due = [attempt for attempt in running if await threads.run(_is_due, attempt, storage, now)]
    due.sort(key=lambda attempt: (attempt.log_kept_at is not None, attempt.log_kept_at or attempt.created_at))
    for attempt in due[:at_most]:
        await _write_if_longer(storage, path(attempt), await fetch(cluster, attempt))
        async with database.writing() as session:
            await attempts.log_kept(session, attempt.id, now)


def _is_due(attempt: Attempt, storage: Storage, now: datetime) -> bool:
    if attempt.log_kept_at is None:
        return True
    waited_s = (now - attempt.log_kept_at).total_seconds()
    # First what costs nothing: the size may have to be asked of another machine.
    return waited_s >= _COPY_EVERY_S and now - attempt.log_kept_at >= timedelta(
        seconds=_COPY_EVERY_S + _LONGER_FOR_EACH_BYTE_S * _size_bytes(storage, path(attempt))
    )


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
