"""Jobs: submit, list, look at."""

import hashlib
import secrets
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import AdmissionError
from fgd_core.spec.events import JobState
from fgd_core.spec.jobs import JOB_SPEC, JobSpec, SweepSpec
from fgd_core.spec.views import JobPage, JobView
from service.api import notes, paging, spec_paths, views
from service.api.access import Principal, Reader, Submitter, visible_job
from service.api.deps import Services, ServicesDep
from service.errors import ForbiddenError, IdempotencyKeyReusedError
from service.jobs import admission
from service.jobs.sweep_admission import EarlierSweep
from service.store import artifacts, jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]


@router.post("", status_code=202, operation_id="submit_job", response_model=JobView)
async def submit(
    services: ServicesDep,
    principal: Submitter,
    spec: Annotated[JobSpec, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Take a job. With an Idempotency-Key, the same request sent twice is one job."""
    spec = _in_project(spec, principal)
    notes.about(project=spec.project, name=spec.name, kind=spec.kind)
    capacity = await services.capacity.recent()
    facts = await spec_paths.facts(spec, services.settings, capacity)
    try:
        view = await _admit(services, principal, spec, idempotency_key, facts)
    except IntegrityError:
        # Another request with this key came between our look and our insert; now it is there to be found.
        view = await _admit(services, principal, spec, idempotency_key, facts)
    services.wake_dispatcher.set()
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
    created_after: datetime | None = None,
    created_before: datetime | None = None,
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
    before = paging.decode(cursor) if cursor is not None else None
    async with services.database.reading() as session:
        rows = await jobs.page(session, wanted, before=before, limit=limit + 1)
    shown = rows[:limit]
    next_cursor = paging.encode(shown[-1].created_at, shown[-1].id) if len(rows) > limit else None
    return JobPage(items=[views.summary(job) for job in shown], next_cursor=next_cursor)


@router.get("/{job_id}", operation_id="get_job")
async def get(services: ServicesDep, principal: Reader, response: Response, job_id: str) -> JobView:
    async with services.database.reading() as session:
        job = await visible_job(session, principal, job_id)
        view = await views.load(session, job)
    response.headers["ETag"] = views.etag(view.version)
    return view


def _in_project(spec: JobSpec, principal: Principal) -> JobSpec:
    """The spec in the project that the principal works in.

    Raises:
        ForbiddenError: the spec names another one.
    """
    if principal.sees(spec.project):
        return spec
    if "project" not in spec.model_fields_set:
        return spec.model_copy(update={"project": principal.project})
    raise ForbiddenError(
        f"this token is for the project {principal.project!r}, and the job is for {spec.project!r}; "
        "leave `project` out, or use a token of that project",
        project=spec.project,
    )


async def _admit(
    services: Services, principal: Principal, spec: JobSpec, idempotency_key: str | None, known: admission.Facts
) -> JobView:
    spec_sha256 = hashlib.sha256(JOB_SPEC.dump_json(spec)).hexdigest()

    async def admit(session: AsyncSession) -> JobView:
        if idempotency_key is not None:
            earlier = await jobs.by_idempotency_key(session, spec.project, idempotency_key)
            if earlier is not None:
                if earlier.spec_sha256 != spec_sha256:
                    raise IdempotencyKeyReusedError(
                        "this Idempotency-Key belongs to another spec; send a new key", job_id=earlier.id
                    )
                return await views.load(session, earlier)
        needs = [reference for _, reference in admission.references(spec)]
        facts = replace(
            known,
            jobs=await _needed(session, principal, [reference.job_id for reference in needs]),
            earlier=await _earlier(session, principal, spec),
        )
        reasons = admission.reasons(spec, facts)
        if reasons:
            raise AdmissionError(
                "; ".join(f"{reason.loc}: {reason.message}" for reason in reasons),
                reasons=[reason.model_dump() for reason in reasons],
            )
        job_id = secrets.token_hex(6)
        job = await jobs.insert_job(
            session,
            job_id=job_id,
            spec=spec,
            spec_sha256=spec_sha256,
            idempotency_key=idempotency_key,
            submitted_by=principal.name,
            needs=list(dict.fromkeys(needs)),
            waits_for=admission.waits_for(spec, facts),
            now=services.clock(),
        )
        return views.job_view(
            job, needs=await jobs.dependencies(session, job_id) if needs else [], attempts=[], artifacts=[]
        )

    return await services.database.insert_together(admit)


async def _needed(session: AsyncSession, principal: Principal, job_ids: list[str]) -> dict[str, admission.NeededJob]:
    """Those that there are, as far as the principal sees."""
    found = {}
    for job_id, job in (await jobs.states(session, job_ids)).items():
        if not principal.sees(job.project):
            continue
        names = frozenset(artifact.name for artifact in await artifacts.of_job(session, job_id))
        found[job_id] = admission.NeededJob(kind=job.kind, state=job.state, artifacts=names)
    return found


async def _earlier(session: AsyncSession, principal: Principal, spec: JobSpec) -> dict[str, EarlierSweep]:
    """The jobs that a sweep goes on from or learns from, as far as the principal sees."""
    if not isinstance(spec, SweepSpec):
        return {}
    named = [*spec.warm_start, *([spec.fork] if spec.fork is not None else [])]
    return {
        job_id: EarlierSweep(kind=job.kind, project=job.project, spec=job.spec)
        for job_id, job in (await jobs.states(session, named)).items()
        if principal.sees(job.project)
    }
