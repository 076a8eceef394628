"""Keeps what a run printed: Ray forgets it with the cluster."""

import asyncio
import hashlib
import os
from datetime import datetime
from pathlib import Path

from fgd_core.spec.events import ArtifactSaved
from service.dispatcher.cluster import Cluster
from service.store import artifacts
from service.store.session import Database
from service.store.tables import Attempt


async def keep(cluster: Cluster, attempt: Attempt, storage_dir: Path) -> ArtifactSaved:
    """Copy the driver log of an ended attempt into storage; doing so twice leaves one file."""
    content = (await cluster.logs(attempt.submission_id)).encode("utf-8", "replace")
    name = f"attempt-{attempt.number}.log"
    path = storage_dir / "jobs" / attempt.job_id / "logs" / name
    await asyncio.to_thread(_write, path, content)
    return ArtifactSaved(
        name=name,
        uri=path.as_uri(),
        media_type="text/plain; charset=utf-8",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


async def register(database: Database, job_id: str, saved: ArtifactSaved, now: datetime) -> None:
    async with database.writing() as session:
        await artifacts.record(session, job_id, saved, now)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
