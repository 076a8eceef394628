"""Stores the location and type of each artifact of a job."""

from datetime import datetime

import structlog
from pydantic import ValidationError
from sqlalchemy import select

from fgd_core.spec.checkpoint_references import checkpoint_artifact
from fgd_core.spec.events import ArtifactSaved, CheckpointSaved
from service.storage import paths
from service.store.statements import upsert
from service.store.tables import Artifact, Event
from service.store.write_session import WriteSession

log = structlog.get_logger(__name__)

_MAX_NAME = 200
_MAX_BIGINT = 2**63 - 1


async def record(session: WriteSession, job_id: str, saved: ArtifactSaved | CheckpointSaved, at: datetime) -> None:
    """Insert an artifact; it replaces an earlier one of the same name. Names that no URL can contain are rejected."""
    if isinstance(saved, CheckpointSaved):
        name, media_type = checkpoint_artifact(saved.name), "application/octet-stream"
    else:
        name, media_type = saved.name, saved.media_type
    if len(name) > _MAX_NAME or not paths.is_plain(name):
        log.warning("artifact_refused", job_id=job_id, name=name[:_MAX_NAME], cure="use a valid relative file name")
        return
    row = {
        "job_id": job_id,
        "name": name,
        "uri": saved.uri,
        "media_type": media_type[:200],
        "sha256": saved.sha256[:64],
        "size_bytes": min(max(saved.size_bytes, 0), _MAX_BIGINT),
        "saved_at": at,
    }
    await upsert(session, Artifact, [row])


async def of_job(session: WriteSession, job_id: str) -> list[Artifact]:
    """Return the artifacts of a job, by name."""
    return list(await session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)))


async def of_trial(session: WriteSession, job_id: str, trial: int, name: str) -> ArtifactSaved | None:
    """Return the newest artifact of that name that a trial of a sweep reported; None if there is none."""
    reported = Event.data["event"]
    query = (
        select(Event.data)
        .where(Event.job_id == job_id, Event.kind == "trial_event")
        .where(reported["kind"].as_string() == "artifact_saved", reported["name"].as_string() == name)
        .order_by(Event.sequence.desc())
    )
    for data in await session.scalars(query):
        # Compared here and not in SQL: a run may report any value as the trial's number, also one that SQL cannot cast.
        if data.get("trial") == trial:
            try:
                return ArtifactSaved.model_validate(data["event"])
            except ValidationError:
                continue
    return None


async def get(session: WriteSession, job_id: str, name: str) -> Artifact | None:
    """Return one artifact of a job; None if it does not exist."""
    return await session.get(Artifact, (job_id, name))
