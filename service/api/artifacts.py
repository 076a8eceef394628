"""The files that a job left behind."""

import asyncio
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter
from fastapi.responses import FileResponse

from fgd_core.errors import NotFoundError
from service.api.access import Reader, visible_job
from service.api.deps import ServicesDep
from service.store import artifacts

router = APIRouter(prefix="/v1/jobs", tags=["artifacts"])

_MEDIA_TYPE = re.compile(r"^[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+(; ?charset=[A-Za-z0-9-]+)?$")
_ANY = {"*/*": {"schema": {"type": "string", "format": "binary"}}}


@router.get(
    "/{job_id}/artifacts/{name:path}",
    operation_id="get_artifact",
    response_class=FileResponse,
    responses={200: {"content": _ANY}, 206: {"description": "The range that was asked for", "content": _ANY}},
)
async def get_artifact(services: ServicesDep, principal: Reader, job_id: str, name: str) -> FileResponse:
    """The file itself, with ranges."""
    async with services.database.reading() as session:
        await visible_job(session, principal, job_id)
        artifact = await artifacts.get(session, job_id, name)
    if artifact is None:
        raise NotFoundError(f"job {job_id} has no artifact {name!r}; GET /v1/jobs/{job_id} lists them", job_id=job_id)
    path = await asyncio.to_thread(confined, artifact.uri, services.settings.storage_dir)
    if path is None:
        message = f"the file of artifact {name!r} is not in the server's storage folder, or no longer there"
        raise NotFoundError(message, job_id=job_id, uri=artifact.uri)
    media_type = artifact.media_type if _MEDIA_TYPE.match(artifact.media_type) else "application/octet-stream"
    return FileResponse(
        path,
        media_type=media_type,
        # As a download, and never sniffed: what a run wrote must not run as a page of this server.
        filename=Path(name).name,
        headers={"X-Content-Type-Options": "nosniff"},
    )


def confined(uri: str, storage_dir: Path) -> Path | None:
    """The existing file that `uri` points at, symbolic links followed, if it lies under `storage_dir`."""
    path = Path(unquote(urlsplit(uri).path)) if uri.startswith("file://") else Path(uri)
    try:
        resolved = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    return resolved if resolved.is_relative_to(storage_dir.resolve()) and resolved.is_file() else None
