"""Images: those on which a detector errs most, with what it, its teachers and other jobs have found on them."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from fgd_core.spec.report import Report
from fgd_core.spec.views import JobView
from fgd_core.spec.worst_images import ImagePanel, JudgedImage, ShownBox, WorstImagesView
from service.api import stored_files
from service.api.access import JobId, Reader, visible_job
from service.api.deps import ServicesDep
from service.jobs.report import fold
from service.reports.worst_images import Gallery, Panel, gallery, wanted_files
from service.storage import threads
from service.storage.base import Storage
from service.store.views import load

router = APIRouter(prefix="/v1/jobs", tags=["report"])

MAX_FILE_BYTES = 32_000_000


@router.get("/{job_id}/worst-images", operation_id="get_worst_images")
async def get_worst_images(
    *,
    services: ServicesDep,
    principal: Reader,
    job_id: JobId,
    others: Annotated[
        list[str] | None, Query(alias="with", max_length=8, description="Ids of jobs to show on the same images")
    ] = None,
) -> WorstImagesView:
    """Return the images on which a job's detector errs most, with the boxes of the job, its teachers and other jobs.

    Another job is shown if it was evaluated on the same data. The maps show where student and teacher look.
    """
    async with services.database.reading() as session:
        rows = [await visible_job(session, principal, each) for each in dict.fromkeys([job_id, *(others or [])])]
        jobs = [await load(session, row) for row in rows if row.kind != "sweep"]
    if not jobs or jobs[0].job_id != job_id:
        return WorstImagesView(images=[])
    report = Report(generated_at=services.clock(), jobs=[fold(job, [], {}) for job in jobs])
    return await threads.run(_view, report, jobs, services.storage)


def _view(report: Report, jobs: Sequence[JobView], storage: Storage) -> WorstImagesView:
    uris = {(job.job_id, artifact.name): artifact.uri for job in jobs for artifact in job.artifacts}
    files = {
        wanted: content
        for wanted in wanted_files(report)
        if wanted in uris
        and (content := stored_files.read_small(storage, wanted[0], uris[wanted], max_bytes=MAX_FILE_BYTES)) is not None
    }
    found = gallery(report, files)
    return WorstImagesView(images=_images(found) if found is not None else [])


def _images(found: Gallery) -> list[JudgedImage]:
    return [
        JudgedImage(
            image_id=row.image.image_id,
            file_name=row.image.file_name,
            width=row.image.width,
            height=row.image.height,
            jpeg=row.image.jpeg,
            panels=[ImagePanel(name=panel.name, boxes=_boxes(panel)) for panel in row.panels],
            maps=list(row.maps),
        )
        for row in found.rows
    ]


def _boxes(panel: Panel) -> list[ShownBox]:
    return [
        ShownBox(
            box_xyxy_px=(box.x, box.y, box.x + box.width, box.y + box.height), caption=box.caption, verdict=box.verdict
        )
        for box in panel.boxes
    ]
