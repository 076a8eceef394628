"""Data sets: register them by name, check them, show their counts and samples."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.data import Registered
from fgd_core.spec.datasets import (
    DatasetJob,
    DatasetJobs,
    DatasetPage,
    DatasetState,
    DatasetSummary,
    DatasetView,
    NewDataset,
)
from fgd_core.spec.events import DataSetChecked
from fgd_core.spec.kinds.base import ProjectName
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.views import JobView
from service.api import audit_notes, cursors, responses, spec_paths, stored_files, submission
from service.api.access import Principal, Reader, Submitter
from service.api.deps import Services, ServicesDep
from service.jobs import admission, data_admission, named_paths
from service.jobs.lifecycle import OVER
from service.reports.dataset_page import render_dataset
from service.storage import threads
from service.store import artifacts, datasets, jobs, views
from service.store.datasets import Known
from service.store.tables import Job, columns

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

_MAX_IMAGE_BYTES = 16_000_000

Key = Annotated[str, Path(max_length=100, description="The id or the name of a data set", examples=["shelves"])]
Project = Annotated[
    ProjectName | None,
    Query(description="The project of the data set, if several projects have a data set with this name"),
]


@router.post("", status_code=201, operation_id="create_dataset")
async def create(services: ServicesDep, principal: Submitter, response: Response, new: NewDataset) -> DatasetView:
    """Register a data set under a name. The server does not read its files; `check_dataset` does."""
    project = principal.project_for(new.project) or "default"
    audit_notes.about(project=project, name=new.name)
    paths = list(named_paths.data_paths(new.data, "data"))
    facts = await spec_paths.facts(paths, services.settings)
    admission.check(list(data_admission.path_reasons(paths, facts)))
    async with services.database.writing() as session:
        row = await datasets.insert_dataset(
            session,
            name=new.name,
            project=project,
            data=new.data,
            created_by=principal.name,
            now=services.clock(),
        )
    response.headers["Location"] = f"/v1/datasets/{row.id}"
    return _view(Known(row, None))


@router.get("", operation_id="list_datasets")
async def list_datasets(
    *,
    services: ServicesDep,
    principal: Reader,
    project: Annotated[list[str] | None, Query(description="Only these projects; may be repeated")] = None,
    q: Annotated[str, Query(max_length=100, description="Text in the name, or at the start of the id")] = "",
    limit: cursors.Limit = 50,
    cursor: cursors.Cursor = None,
) -> DatasetPage:
    """List data sets, newest first."""
    wanted = datasets.Filter(projects=project or [], text=q.replace("\x00", ""), only_project=principal.project)
    before = cursors.decode(cursor) if cursor is not None else None
    async with services.database.reading() as session:
        found = await datasets.page(session, wanted, before=before, limit=limit + 1)
    shown, next_cursor = cursors.page(found, limit, lambda known: (known.row.created_at, known.row.id))
    return DatasetPage(items=[_summary(known) for known in shown], next_cursor=next_cursor)


@router.get("/{dataset}", operation_id="get_dataset")
async def get(services: ServicesDep, principal: Reader, dataset: Key, project: Project = None) -> DatasetView:
    """Return a data set, by id or by name."""
    async with services.database.reading() as session:
        return _view(await _visible(session, principal, dataset, project))


@router.post("/{dataset}/check", status_code=202, operation_id="check_dataset")
async def check(
    services: ServicesDep, principal: Submitter, response: Response, dataset: Key, project: Project = None
) -> JobView:
    """Start a job that checks a data set: it counts objects, computes the fingerprint and draws samples.

    If a check is already queued or running, the response is that job.
    """
    async with services.database.reading() as session:
        known = await _visible(session, principal, dataset, project)
        view = await _current_check(session, known)
    if view is None:
        row = known.row
        spec = CheckDataSpec(name=f"check {row.name}"[:100], project=row.project, data=Registered(name=row.name))
        view = await submission.submit(services, principal, spec, idempotency_key=None)
    response.headers["Location"] = f"/v1/jobs/{view.job_id}"
    response.headers["ETag"] = views.etag(view.version)
    return view


@router.get("/{dataset}/jobs", operation_id="list_dataset_jobs")
async def list_jobs(
    services: ServicesDep, principal: Reader, dataset: Key, project: Project = None, limit: cursors.Limit = 50
) -> DatasetJobs:
    """List the jobs that use a data set, newest first, with those that are over."""
    async with services.database.reading() as session:
        known = await _visible(session, principal, dataset, project)
        found, number = await datasets.jobs_of(session, known.row.id, limit=limit)
    return DatasetJobs(items=[_job(job) for job in found], num_jobs=number)


@router.delete("/{dataset}", operation_id="delete_dataset")
async def delete(services: ServicesDep, principal: Submitter, dataset: Key, project: Project = None) -> DatasetView:
    """Delete the registration of a data set; its files stay. Refused (409) while a job that is not over uses it."""
    async with services.database.writing() as session:
        found = await _visible(session, principal, dataset, project)
        known = await datasets.lock(session, found.row.id)
        await datasets.remove(session, known.row.id)
        return _view(known)


@router.get(
    "/{dataset}/page",
    operation_id="get_dataset_page",
    response_class=Response,
    responses={200: {"content": {"text/html": {}}}},
)
async def page(services: ServicesDep, principal: Reader, dataset: Key, project: Project = None) -> Response:
    """Return the counts, findings and samples of a data set as one HTML file."""
    async with services.database.reading() as session:
        known = await _visible(session, principal, dataset, project)
        job_id = known.row.check_job_id
        stored = await artifacts.of_job(session, job_id) if job_id is not None else []
    uris = {each.name: each.uri for each in stored if each.media_type == "image/png"}
    html = await threads.run(_page, services, _view(known), uris)
    return responses.html_page(html)


async def _visible(session: AsyncSession, principal: Principal, key: str, project: str | None) -> Known:
    known = await datasets.find(session, key.replace("\x00", ""), principal.project_for(project))
    audit_notes.about(project=known.row.project, name=known.row.name)
    return known


async def _current_check(session: AsyncSession, known: Known) -> JobView | None:
    if known.row.check_job_id is None or known.check_state is None or known.check_state in OVER:
        return None
    return await views.load(session, await jobs.get(session, known.row.check_job_id))


def _page(services: Services, view: DatasetView, uris: dict[str, str]) -> str:
    images = {}
    for split in ("train", "val"):
        uri = uris.get(f"samples_{split}.png", "")
        image = stored_files.read_small(services.storage, view.check_job_id or "", uri, max_bytes=_MAX_IMAGE_BYTES)
        if image is not None:
            images[split] = image
    return render_dataset(view, images, generated_at=services.clock())


def _job(job: Job) -> DatasetJob:
    best_ap = job.progress.get("best_ap")
    return DatasetJob.model_validate(columns(job) | {"job_id": job.id, "best_ap": best_ap})


def _summary(known: Known) -> DatasetSummary:
    row = known.row
    splits = DataSetChecked.model_validate(row.outcome).splits if row.outcome is not None else []
    found = {
        "dataset_id": row.id,
        "format": row.data["type"],
        "state": _state(known),
        "num_images": {each.split: each.num_images for each in splits},
        "num_boxes": {each.split: each.num_boxes for each in splits},
        "num_categories": len(splits[0].boxes_per_category) if splits else None,
    }
    return DatasetSummary.model_validate(columns(row) | found)


def _view(known: Known) -> DatasetView:
    row = known.row
    more = {"error": row.check_error, "page_url": f"/v1/datasets/{row.id}/page"}
    return DatasetView.model_validate(columns(row) | dict(_summary(known)) | more)


def _state(known: Known) -> DatasetState:
    row = known.row
    if known.check_state is not None and known.check_state not in OVER:
        return "checking"
    if row.check_error is not None:
        return "refused" if row.check_error["code"] == "data" else "failed"
    return "checked" if row.outcome is not None else "unchecked"
