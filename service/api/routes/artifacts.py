"""Artifacts: the files that a job has produced."""

import re
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from fgd_core.errors import NotFoundError
from service.api import stored_files
from service.api.access import JobId, Reader, visible_job
from service.api.deps import ServicesDep
from service.storage import paths
from service.storage.errors import FileGoneError
from service.store import artifacts

router = APIRouter(prefix="/v1/jobs", tags=["artifacts"])

_MEDIA_TYPE = re.compile(r"^[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+(; ?charset=[A-Za-z0-9-]+)?$")

ArtifactName = Annotated[str, Path(description="The artifact's name", examples=["best.pt"])]


@router.get(
    "/{job_id}/artifacts/{name:path}",
    operation_id="get_artifact",
    response_class=Response,
    responses=stored_files.RESPONSES,
)
async def get_artifact(
    services: ServicesDep, principal: Reader, request: Request, job_id: JobId, name: ArtifactName
) -> Response:
    """Download an artifact of a job. `Range` is supported. `get_job` lists the artifacts."""
    async with services.database.reading() as session:
        await visible_job(session, principal, job_id)
        artifact = await artifacts.get(session, job_id, name)
    if artifact is None:
        raise NotFoundError(
            f"job {job_id} has no artifact {name!r}; GET /v1/jobs/{job_id} lists its artifacts", job_id=job_id
        )
    path = paths.of_job(services.storage, job_id, artifact.uri)
    media_type = artifact.media_type if _MEDIA_TYPE.match(artifact.media_type) else "application/octet-stream"
    try:
        if path is not None:
            return await stored_files.respond(services.storage, path, request, media_type=media_type)
    except FileGoneError:
        pass
    message = f"the storage does not hold the file of artifact {name!r} among the job's files; it may have been deleted"
    raise NotFoundError(message, job_id=job_id, uri=artifact.uri)
