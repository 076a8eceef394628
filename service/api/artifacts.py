"""The files that a job left behind."""

import re

from fastapi import APIRouter, Request, Response

from fgd_core.errors import NotFoundError
from service.api import stored_files
from service.api.access import Reader, visible_job
from service.api.deps import ServicesDep
from service.storage import paths
from service.storage.errors import FileGoneError
from service.store import artifacts

router = APIRouter(prefix="/v1/jobs", tags=["artifacts"])

_MEDIA_TYPE = re.compile(r"^[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+(; ?charset=[A-Za-z0-9-]+)?$")


@router.get(
    "/{job_id}/artifacts/{name:path}",
    operation_id="get_artifact",
    response_class=Response,
    responses={
        200: {"content": stored_files.ANY},
        206: {"description": "The range that was asked for", "content": stored_files.ANY},
    },
)
async def get_artifact(services: ServicesDep, principal: Reader, request: Request, job_id: str, name: str) -> Response:
    """The file itself, with ranges."""
    async with services.database.reading() as session:
        await visible_job(session, principal, job_id)
        artifact = await artifacts.get(session, job_id, name)
    if artifact is None:
        raise NotFoundError(f"job {job_id} has no artifact {name!r}; GET /v1/jobs/{job_id} lists them", job_id=job_id)
    path = paths.of_job(services.storage, job_id, artifact.uri)
    media_type = artifact.media_type if _MEDIA_TYPE.match(artifact.media_type) else "application/octet-stream"
    try:
        if path is not None:
            return await stored_files.respond(services.storage, path, request, media_type=media_type)
    except FileGoneError:
        pass
    message = f"the file of artifact {name!r} is not among the job's files in the server's storage, or no longer there"
    raise NotFoundError(message, job_id=job_id, uri=artifact.uri)
