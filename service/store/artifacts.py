"""The files that a job left behind: where they lie and what they are."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.events import ArtifactSaved, CheckpointSaved
from fgd_core.spec.jobs import checkpoint_artifact
from service.store.session import upsert
from service.store.tables import Artifact

_MAX_BIGINT = 2**63 - 1


async def record(session: AsyncSession, job_id: str, saved: ArtifactSaved | CheckpointSaved, at: datetime) -> None:
    """Register a file; a newer one of the same name takes its place."""
    if isinstance(saved, CheckpointSaved):
        name, media_type = checkpoint_artifact(saved.name), "application/octet-stream"
    else:
        name, media_type = saved.name, saved.media_type
    row = {
        "job_id": job_id,
        "name": name[:200],
        "uri": saved.uri,
        "media_type": media_type[:200],
        "sha256": saved.sha256[:64],
        "size_bytes": min(max(saved.size_bytes, 0), _MAX_BIGINT),
        "saved_at": at,
    }
    await upsert(session, Artifact, [row])


async def of_job(session: AsyncSession, job_id: str) -> list[Artifact]:
    return list(await session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)))


async def get(session: AsyncSession, job_id: str, name: str) -> Artifact | None:
    return await session.get(Artifact, (job_id, name))
