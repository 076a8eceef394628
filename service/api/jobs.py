"""Jobs: submit, list, look at, cancel."""

import asyncio
import hashlib
import secrets
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import AdmissionError, ConflictError
from fgd_core.spec.events import CancelRequested, JobState
from fgd_core.spec.jobs import JOB_SPEC, JobSpec
from fgd_core.spec.views import JobPage, JobView
from service.api import paging, views
from service.api.deps import Services, ServicesDep
from service.errors import IdempotencyKeyReusedError
from service.jobs import admission
from service.jobs.lifecycle import Reason, is_over
from service.jobs.outcome import Step
from service.store import artifacts, attempts, jobs
from service.store.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]


@router.post("", status_code=202, operation_id="submit_job")
async def submit(
    services: ServicesDep,
    response: Response,
    spec: Annotated[JobSpec, Body()],
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Take a job. With an Idempotency-Key, the same request sent twice is one job."""
    capacity = await services.capacity.recent()
    paths = await asyncio.to_thread(_look_up, spec) if services.settings.local_cluster else None
    facts = admission.Facts(capacity=capacity, paths=paths)
    try:
        view = await _admit(services, spec, idempotency_key, facts)
    except IntegrityError:
        # Another request with this key came between our look and our insert; now it is there to be found.
        view = await _admit(services, spec, idempotency_key, facts)
    services.wake_dispatcher.set()
    response.headers["Location"] = f"/v1/jobs/{view.job_id}"
    return view


@router.get("", operation_id="list_jobs")
async def list_jobs(
    services: ServicesDep,
    state: Annotated[list[JobState] | None, Query()] = None,
    kind: Annotated[list[str] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: str | None = None,
) -> JobPage:
    """Newest first. Filters may be repeated."""
    before = paging.decode(cursor) if cursor is not None else None
    async with services.database.reading() as session:
        rows = await jobs.page(session, in_states=state or [], kinds=kind or [], before=before, limit=limit + 1)
    shown = rows[:limit]
    next_cursor = paging.encode(shown[-1].created_at, shown[-1].id) if len(rows) > limit else None
    return JobPage(items=[views.summary(job) for job in shown], next_cursor=next_cursor)


@router.get("/{job_id}", operation_id="get_job")
async def get(services: ServicesDep, job_id: str) -> JobView:
    async with services.database.reading() as session:
        return await _view(session, await jobs.get(session, job_id))


@router.post("/{job_id}/cancel", status_code=202, operation_id="cancel_job")
async def cancel(services: ServicesDep, response: Response, job_id: str) -> JobView:
    """A job that waits is cancelled at once; one that runs is asked to save and stop, and has a grace to do so."""
    now = services.clock()
    async with services.database.writing() as session:
        job = await jobs.get(session, job_id, lock=True)
        if is_over(job.state):
            raise ConflictError(f"job {job_id} is {job.state} already", job_id=job_id, state=job.state)
        if job.state != "cancelling":
            waits = job.state in ("blocked", "queued")
            step = Step(to="cancelled" if waits else "cancelling", reason=Reason.CANCEL_REQUESTED)
            await jobs.move(session, job, step, now=now, extra=[CancelRequested()])
        view = await _view(session, job)
    services.wake_dispatcher.set()
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return view


async def _admit(services: Services, spec: JobSpec, idempotency_key: str | None, known: admission.Facts) -> JobView:
    spec_sha256 = hashlib.sha256(JOB_SPEC.dump_json(spec)).hexdigest()
    async with services.database.writing() as session:
        if idempotency_key is not None:
            earlier = await jobs.by_idempotency_key(session, spec.project, idempotency_key)
            if earlier is not None:
                if earlier.spec_sha256 != spec_sha256:
                    raise IdempotencyKeyReusedError(
                        "this Idempotency-Key belongs to another spec; send a new key", job_id=earlier.id
                    )
                return await _view(session, earlier)
        needs = [reference for _, reference in admission.references(spec)]
        facts = admission.Facts(
            capacity=known.capacity,
            paths=known.paths,
            jobs=await _needed(session, [reference.job_id for reference in needs]),
        )
        reasons = admission.reasons(spec, facts)
        if reasons:
            raise AdmissionError(
                "; ".join(f"{reason.loc}: {reason.message}" for reason in reasons),
                reasons=[reason.model_dump() for reason in reasons],
            )
        job_id = secrets.token_hex(6)
        await jobs.insert_job(
            session,
            job_id=job_id,
            spec=spec,
            spec_sha256=spec_sha256,
            idempotency_key=idempotency_key,
            submitted_by="",
            needs=list(dict.fromkeys(needs)),
            waits_for=admission.waits_for(spec, facts),
            now=services.clock(),
        )
        return await _view(session, await jobs.get(session, job_id))


async def _needed(session: AsyncSession, job_ids: list[str]) -> dict[str, admission.NeededJob]:
    found = {}
    for job_id, job in (await jobs.states(session, job_ids)).items():
        names = frozenset(artifact.name for artifact in await artifacts.of_job(session, job_id))
        found[job_id] = admission.NeededJob(kind=job.kind, state=job.state, artifacts=names)
    return found


async def _view(session: AsyncSession, job: Job) -> JobView:
    return views.job_view(
        job,
        needs=await jobs.dependencies(session, job.id),
        attempts=await attempts.of_job(session, job.id),
        artifacts=await artifacts.of_job(session, job.id),
    )


def _look_up(spec: JobSpec) -> dict[str, admission.PathKind | None]:
    return {item.path: _kind(item.path) for item in admission.paths(spec)}


def _kind(path: str) -> admission.PathKind | None:
    try:
        if Path(path).is_dir():
            return "folder"
        return "file" if Path(path).is_file() else None
    except (OSError, ValueError):
        # A path that the system cannot even look at (a NUL in it, or no right to enter its folder) is not there for us.
        return None
