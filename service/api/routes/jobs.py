"""Jobs: submit, list, get."""

from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Response

from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.lineage import JobLineage
from fgd_core.spec.views import JobPage, JobSort, JobView
from service.api import cursors, submission
from service.api.access import JobId, Reader, Submitter, visible_job
from service.api.deps import ServicesDep
from service.api.job_filters import Selected
from service.store import attempts, job_list, lineage, views
from service.store.job_filter import ORDERS

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="Repeating a request with the same key creates no second job"),
]


@router.post("", status_code=202, operation_id="submit_job", response_model=JobView)
async def submit(
    services: ServicesDep,
    principal: Submitter,
    spec: Annotated[JobSpec, Body()],
    idempotency_key: IdempotencyKey = None,
    parent: Annotated[str | None, Query(max_length=32, description="Id of the job that the spec was made from")] = None,
) -> Response:
    """Submit a job. It is queued, and the dispatcher starts it when its needs are met and the cluster has room.

    The body is a spec in JSON, or in YAML with `Content-Type: application/yaml`. If the job cannot run, the response
    lists all reasons. With an `Idempotency-Key`, a repeated request returns the first job; the same key with another
    spec is refused.
    """
    view = await submission.submit(services, principal, spec, idempotency_key=idempotency_key, parent_id=parent)
    headers = {"Location": f"/v1/jobs/{view.job_id}", "ETag": views.etag(view.version)}
    # Serialised here: FastAPI would validate our own answer again.
    return Response(view.model_dump_json(), status_code=202, headers=headers, media_type="application/json")


@router.get("", operation_id="list_jobs")
async def list_jobs(
    *,
    services: ServicesDep,
    wanted: Selected,
    sort: Annotated[JobSort, Query(description="`-` sorts downwards. Jobs without an AP come last")] = "-created",
    limit: cursors.Limit = 50,
    cursor: cursors.Cursor = None,
) -> JobPage:
    """List jobs, newest first or sorted by a column. Equal jobs are sorted by age in the same direction.

    A page examines a limited number of jobs. With several conditions it may have fewer jobs than `limit`, or none,
    although more follow: the list ends where `next_cursor` is null.
    """
    before = cursors.decode_sorted(cursor, sort) if cursor is not None else None
    async with services.database.reading() as session:
        found = await job_list.page(session, wanted, ORDERS[sort], before=before, limit=limit)
        by_job = await attempts.of_jobs(session, [job.id for job in found.rows])
    items = [views.summary(job, by_job.get(job.id, [])) for job in found.rows]
    next_cursor = cursors.encode_sorted(sort, found.end) if found.end is not None else None
    return JobPage(items=items, next_cursor=next_cursor)


@router.get("/{job_id}/lineage", operation_id="get_job_lineage")
async def get_lineage(services: ServicesDep, principal: Reader, job_id: JobId) -> JobLineage:
    """Return the jobs that a job's spec was made from, each with the fields that changed, and those made from it.

    `POST /v1/jobs?parent=` records from which job a spec was made.
    """
    async with services.database.reading() as session:
        job = await visible_job(session, principal, job_id)
        return await lineage.of_job(session, job, only_project=principal.project)


@router.get("/{job_id}", operation_id="get_job")
async def get(services: ServicesDep, principal: Reader, response: Response, job_id: JobId) -> JobView:
    """Return a job with its spec, state, progress, attempts and artifacts."""
    async with services.database.reading() as session:
        job = await visible_job(session, principal, job_id)
        view = await views.load(session, job)
    response.headers["ETag"] = views.etag(view.version)
    return view
