"""Jobs: submit, list, look at."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Response
from pydantic import AfterValidator

from fgd_core.spec.events import JobState
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.views import JobPage, JobView
from service.api import cursors, submission
from service.api.access import Reader, Submitter, visible_job
from service.api.deps import ServicesDep
from service.store import attempts, jobs, views

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("in UTC, this is not within the years 1 to 9999; give another time") from None


Moment = Annotated[datetime, AfterValidator(_in_utc), Query(description="Without a zone, it is in UTC")]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]


@router.post("", status_code=202, operation_id="submit_job", response_model=JobView)
async def submit(
    services: ServicesDep,
    principal: Submitter,
    spec: Annotated[JobSpec, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Take a job, in JSON, or in YAML with `Content-Type: application/yaml`. With an Idempotency-Key, the same request
    sent twice is one job."""
    view = await submission.submit(services, principal, spec, idempotency_key=idempotency_key)
    headers = {"Location": f"/v1/jobs/{view.job_id}", "ETag": views.etag(view.version)}
    # As it is, for FastAPI would check our own answer anew.
    return Response(view.model_dump_json(), status_code=202, headers=headers, media_type="application/json")


@router.get("", operation_id="list_jobs")
async def list_jobs(
    *,
    services: ServicesDep,
    principal: Reader,
    state: Annotated[list[JobState] | None, Query()] = None,
    kind: Annotated[list[str] | None, Query()] = None,
    project: Annotated[list[str] | None, Query()] = None,
    q: Annotated[str, Query(max_length=100, description="In the name, or at the beginning of the id")] = "",
    created_after: Moment | None = None,
    created_before: Moment | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: str | None = None,
) -> JobPage:
    """Newest first. `state`, `kind` and `project` may be repeated."""
    wanted = jobs.Filter(
        states=state or [],
        kinds=kind or [],
        projects=project or [],
        text=q.replace("\x00", ""),
        created_after=created_after,
        created_before=created_before,
        only_project=principal.project,
    )
    before = cursors.decode(cursor) if cursor is not None else None
    async with services.database.reading() as session:
        rows = await jobs.page(session, wanted, before=before, limit=limit + 1)
        shown = rows[:limit]
        tried = await attempts.of_jobs(session, [job.id for job in shown])
    next_cursor = cursors.encode(shown[-1].created_at, shown[-1].id) if len(rows) > limit else None
    return JobPage(items=[views.summary(job, tried.get(job.id, [])) for job in shown], next_cursor=next_cursor)


@router.get("/{job_id}", operation_id="get_job")
async def get(services: ServicesDep, principal: Reader, response: Response, job_id: str) -> JobView:
    async with services.database.reading() as session:
        job = await visible_job(session, principal, job_id)
        view = await views.load(session, job)
    response.headers["ETag"] = views.etag(view.version)
    return view
