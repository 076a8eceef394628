"""The validation images on which several jobs disagree, and the pictures of a job's validation images."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from fgd_core.spec.disputed_images import DisputedImage, DisputedImages
from fgd_core.spec.views import JobView, ProblemReason
from fgd_core.spec.worst_images import DETECTIONS, WORST_IMAGES, WorstImages
from service.api import cursors, stored_files, validation_pictures
from service.api.access import JobId, Reader, visible_job
from service.api.deps import Services, ServicesDep
from service.jobs.lifecycle import is_over
from service.storage import threads
from service.storage.base import Storage
from service.store.views import load

router = APIRouter(prefix="/v1", tags=["report"])

MAX_JOBS = 8
MAX_FILE_BYTES = 32_000_000
_MAX_LIMIT = 50


@router.get("/compare/images", operation_id="list_disputed_images")
async def list_disputed_images(
    *,
    services: ServicesDep,
    principal: Reader,
    job: Annotated[list[str], Query(min_length=1, max_length=MAX_JOBS, description="Id of a job; repeat it")],
    limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT, description="Largest number of images on the page")] = 12,
    cursor: cursors.Cursor = None,
) -> DisputedImages:
    """List the validation images on which jobs disagree, with the boxes of each job; the largest disagreement first.

    All images of the validation split count. A job can be compared when it has ended, with jobs on the same data.
    """
    first = cursors.decode_number(cursor) if cursor is not None else 0
    async with services.database.reading() as session:
        rows = [await visible_job(session, principal, each) for each in dict.fromkeys(job)]
        jobs = [await load(session, row) for row in rows]
    found = await threads.run(_page, jobs, services, first, limit)
    end = first + len(found.items)
    return found.model_copy(update={"next_cursor": cursors.encode_number(end) if end < found.num_disputed else None})


@router.get(
    "/jobs/{job_id}/images/{file_name:path}",
    operation_id="get_validation_image",
    response_class=Response,
    responses=stored_files.RESPONSES,
)
async def get_validation_image(
    services: ServicesDep, principal: Reader, request: Request, job_id: JobId, file_name: str
) -> Response:
    """Return an image of a job's validation split, if this server can read the data set."""
    async with services.database.reading() as session:
        view = await load(session, await visible_job(session, principal, job_id))
    folder = await threads.run(validation_pictures.folder_of, view, services.settings)
    return await validation_pictures.respond(folder, file_name, request)


def _page(jobs: Sequence[JobView], services: Services, first: int, limit: int) -> DisputedImages:
    # By name: a server loads NumPy only once somebody asks.
    compare = importlib.import_module("service.compare.disputed")
    contents = {job.job_id: _file(services.storage, job, DETECTIONS) for job in jobs}
    runs = [compare.RunDetections(job.job_id, job.name, content) for job in jobs if (content := contents[job.job_id])]
    found: DisputedImages = compare.disputed_images(runs, first=first, limit=limit)
    left_out = [*(_missing(job) for job in jobs if contents[job.job_id] is None), *found.left_out]
    # Images of other data may have the same names.
    compared = [job for job in jobs if job.job_id not in {reason.loc for reason in left_out}]
    items = _with_pictures(found.items, compared, services) if found.items else []
    return found.model_copy(update={"items": items, "left_out": left_out})


def _missing(job: JobView) -> ProblemReason:
    if is_over(job.state):
        message = "has kept no detections: its kind has none, or it ended before its last evaluation"
        return ProblemReason(loc=job.job_id, code="no_detections", message=f"{job.name} {message}")
    message = f"is {job.state}; its detections are compared when it has ended"
    return ProblemReason(loc=job.job_id, code="not_finished", message=f"{job.name} {message}")


def _with_pictures(items: Sequence[DisputedImage], jobs: Sequence[JobView], services: Services) -> list[DisputedImage]:
    kept: dict[str, str] = {}
    for job in jobs:
        kept |= _kept_images(_file(services.storage, job, WORST_IMAGES))
    readable = {job.job_id: validation_pictures.folder_of(job, services.settings) for job in jobs}
    return [
        item.model_copy(update={"jpeg": kept[item.file_name]})
        if item.file_name in kept
        else item.model_copy(update={"picture_url": _picture_url(item, readable)})
        for item in items
    ]


def _kept_images(content: bytes | None) -> Mapping[str, str]:
    """Return the images of a file `worst_images.json`, in base64, by their names; empty if it cannot be read."""
    try:
        kept = WorstImages.model_validate_json(content).images if content is not None else []
    except ValidationError:
        return {}
    return {image.file_name: image.jpeg for image in kept}


def _picture_url(item: DisputedImage, folders: Mapping[str, Storage | None]) -> str | None:
    return next(
        (
            validation_pictures.url_of(job_id, item.file_name)
            for job_id, folder in folders.items()
            if folder is not None and folder.find(item.file_name) is not None
        ),
        None,
    )


def _file(storage: Storage, job: JobView, name: str) -> bytes | None:
    uri = next((artifact.uri for artifact in job.artifacts if artifact.name == name), None)
    if uri is None:
        return None
    return stored_files.read_small(storage, job.job_id, uri, max_bytes=MAX_FILE_BYTES)
