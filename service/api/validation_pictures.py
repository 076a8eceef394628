"""Pictures of validation images, read from the folder of a data set that this server can read."""

from pathlib import Path, PurePosixPath
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response

from fgd_core.errors import NotFoundError
from fgd_core.spec.data import Coco, DataSpec, files_of
from fgd_core.spec.views import JobView
from service.api import stored_files
from service.jobs import confinement
from service.jobs.confinement import Places
from service.settings import Settings
from service.storage.base import Storage
from service.storage.folder import FolderStorage

_MEDIA_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
"""What browsers show. SVG is left out: it may contain scripts."""


def folder_of(job: JobView, settings: Settings) -> Storage | None:
    """Return the folder with the validation images of a job; None if this server cannot, or must not, read it.

    Only COCO data has one folder for all of them. The folder was checked when the job was submitted; links on its path
    may have changed since then.
    """
    data: DataSpec | None = getattr(job.spec, "data", None)
    files = files_of(data) if data is not None else None
    if not settings.local_cluster or not isinstance(files, Coco):
        return None
    try:
        folder = Path(files.val.images).resolve()
        roots = [PurePosixPath(root.resolve()) for root in settings.data_roots]
        of_jobs = settings.jobs_of_others.resolve() if settings.jobs_of_others is not None else None
    except (OSError, RuntimeError, ValueError):
        return None
    places = Places(roots=roots, of_jobs=PurePosixPath(of_jobs) if of_jobs is not None else None)
    return FolderStorage(folder) if confinement.outside("data", str(folder), places) is None else None


def url_of(job_id: str, file_name: str) -> str:
    """Return the address of a validation image of a job, relative to the server's URL."""
    return f"/v1/jobs/{quote(job_id)}/images/{quote(file_name)}"


async def respond(folder: Storage | None, file_name: str, request: Request) -> Response:
    """Return an image as a response.

    Raises:
        NotFoundError: the server cannot read the folder, or the name is not that of an image.
        FileGoneError: the folder has no such file; links inside the folder are not followed.
    """
    media_type = _MEDIA_TYPES.get(PurePosixPath(file_name).suffix.lower())
    if folder is None or media_type is None:
        message = (
            "this server cannot read the images of this job; the data set is on the cluster, or it is no COCO data"
        )
        raise NotFoundError(message, file_name=file_name[:200])
    return await stored_files.respond(folder, file_name, request, media_type=media_type)
