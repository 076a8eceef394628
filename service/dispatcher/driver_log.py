"""Keeps what a run printed: Ray forgets it with the cluster.

One file an attempt. While the run is under way it is a copy made now and then; when the attempt has ended it is the
whole log, and only then an artifact of the job.
"""

import asyncio
import hashlib
import os
from datetime import datetime, timedelta
from pathlib import Path

from fgd_core.spec.events import ArtifactSaved
from service.dispatcher.cluster import Cluster
from service.store import artifacts, attempts
from service.store.session import Database
from service.store.tables import Attempt

_COPY_EVERY_S = 60.0
# Ray hands out a log as a whole only: a large one is asked for less often.
_LONGER_FOR_EACH_BYTE_S = 60.0 / 1_000_000


def name(attempt: Attempt) -> str:
    return f"attempt-{attempt.number}.log"


def path(storage_dir: Path, attempt: Attempt) -> Path:
    return storage_dir / "jobs" / attempt.job_id / "logs" / name(attempt)


def kept(storage_dir: Path, attempt: Attempt) -> Path | None:
    """The file, if it is there. Blocks."""
    file = path(storage_dir, attempt)
    # Runs write into the job's folder too: a link that one put there must not lead anywhere else.
    return file if file.is_file() and file.resolve() == storage_dir.resolve() / file.relative_to(storage_dir) else None


async def fetch(cluster: Cluster, attempt: Attempt) -> bytes:
    """What the cluster has of an attempt's log; nothing once it has forgotten the run.

    Raises:
        ClusterError: it cannot be asked.
    """
    return (await cluster.logs(attempt.submission_id)).encode("utf-8", "replace")


async def keep(cluster: Cluster, attempt: Attempt, storage_dir: Path) -> ArtifactSaved | None:
    """Copy the driver log of an ended attempt into storage; doing so twice leaves one file.

    A cluster that has forgotten the run, or has lost a part of its log, does not undo an earlier, longer copy.

    Returns:
        None where there is nothing to keep.
    """
    file = path(storage_dir, attempt)
    content = await _write_if_longer(file, await fetch(cluster, attempt))
    if not content:
        return None
    return ArtifactSaved(
        name=name(attempt),
        uri=file.as_uri(),
        media_type="text/plain; charset=utf-8",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


async def register(database: Database, job_id: str, saved: ArtifactSaved, now: datetime) -> None:
    async with database.writing() as session:
        await artifacts.record(session, job_id, saved, now)


async def snapshot(database: Database, cluster: Cluster, storage_dir: Path, now: datetime, *, at_most: int = 4) -> None:
    """Copy the logs of attempts under way that have not been copied for a minute, the longest waiting first.

    Args:
        at_most: so many logs a call, for each is a request to the cluster.
    Raises:
        ClusterError: the cluster cannot be asked; what was copied stays.
    """
    async with database.reading() as session:
        running = [attempt for _, attempt in await attempts.active(session) if attempt.heartbeat_at is not None]
    due = [attempt for attempt in running if await asyncio.to_thread(_is_due, attempt, storage_dir, now)]
    due.sort(key=lambda attempt: (attempt.log_kept_at is not None, attempt.log_kept_at or attempt.created_at))
    for attempt in due[:at_most]:
        await _write_if_longer(path(storage_dir, attempt), await fetch(cluster, attempt))
        async with database.writing() as session:
            await attempts.log_kept(session, attempt.id, now)


def _is_due(attempt: Attempt, storage_dir: Path, now: datetime) -> bool:
    if attempt.log_kept_at is None:
        return True
    wait_s = _COPY_EVERY_S + _LONGER_FOR_EACH_BYTE_S * _size_bytes(path(storage_dir, attempt))
    return now - attempt.log_kept_at >= timedelta(seconds=wait_s)


async def _write_if_longer(file: Path, content: bytes) -> bytes:
    """Returns what is there afterwards."""

    def write() -> bytes:
        if _size_bytes(file) > len(content):
            return file.read_bytes()
        if content:
            _write(file, content)
        return content

    return await asyncio.to_thread(write)


def _size_bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
