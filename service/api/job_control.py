"""What a user may do to a job that was taken: cancel, pause, resume, retry, change its place in the queue."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Response
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.events import CancelRequested, PauseRequested, PriorityChanged, ResumeRequested, RetryRequested
from fgd_core.spec.views import JobPatch, JobView
from service.api.access import Principal, Submitter, visible_job
from service.api.deps import Services, ServicesDep
from service.errors import ChangedMeanwhileError
from service.jobs import control
from service.store import events, jobs, views
from service.store.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

IfMatch = Annotated[
    str | None, Header(description="The ETag that the request rests on; 412 if the job has moved since then")
]


@router.post("/{job_id}/cancel", status_code=202, operation_id="cancel_job")
async def cancel(
    services: ServicesDep, principal: Submitter, response: Response, job_id: str, if_match: IfMatch = None
) -> JobView:
    """A job that waits is cancelled at once; one that runs is asked to save and stop, and has a grace to do so."""

    async def act(session: AsyncSession, job: Job) -> None:
        step = control.cancel(job.state)
        if step is not None:
            asked = CancelRequested(by=principal.name)
            await jobs.move(session, job, step, now=services.clock(), extra=[asked])

    return await _change(services, principal, response, job_id, if_match, act)


@router.post("/{job_id}/pause", status_code=202, operation_id="pause_job")
async def pause(
    services: ServicesDep, principal: Submitter, response: Response, job_id: str, if_match: IfMatch = None
) -> JobView:
    """Stand still and hold nothing, until resumed. A run saves its very step first."""

    async def act(session: AsyncSession, job: Job) -> None:
        step = control.pause(job.state)
        if step is not None:
            asked = PauseRequested(by=principal.name)
            await jobs.move(session, job, step, now=services.clock(), extra=[asked])
        elif job.resumes_itself:
            # It makes room for an urgent job already; now it is to stand still beyond that.
            await jobs.change(session, job, {Job.resumes_itself: False})
            await events.append(session, job.id, None, [(services.clock(), PauseRequested(by=principal.name))])

    return await _change(services, principal, response, job_id, if_match, act)


@router.post("/{job_id}/resume", status_code=202, operation_id="resume_job")
async def resume(
    services: ServicesDep, principal: Submitter, response: Response, job_id: str, if_match: IfMatch = None
) -> JobView:
    """Queue a paused job again. It goes on where it stood, as if it had never stopped."""

    async def act(session: AsyncSession, job: Job) -> None:
        asked = ResumeRequested(by=principal.name)
        step = control.resume(job.state, waits=await jobs.waits(session, job.id))
        if step is not None:
            await jobs.move(session, job, step, now=services.clock(), extra=[asked])
        elif not job.resumes_itself:
            await jobs.change(session, job, {Job.resumes_itself: True})
            await events.append(session, job.id, None, [(services.clock(), asked)])

    return await _change(services, principal, response, job_id, if_match, act)


@router.post("/{job_id}/retry", status_code=202, operation_id="retry_job")
async def retry(
    services: ServicesDep, principal: Submitter, response: Response, job_id: str, if_match: IfMatch = None
) -> JobView:
    """Queue a failed or cancelled job again: on from its newest checkpoint, with whole budgets of retries."""

    async def act(session: AsyncSession, job: Job) -> None:
        step = control.retry(job.state, waits=await jobs.waits(session, job.id))
        asked = RetryRequested(by=principal.name)
        fresh = {Job.failures: 0, Job.losses: 0, Job.not_before: None, Job.ended_at: None, Job.error: None}
        await jobs.move(session, job, step, now=services.clock(), extra=[asked], columns=fresh)

    return await _change(services, principal, response, job_id, if_match, act)


@router.patch("/{job_id}", operation_id="patch_job")
async def patch(
    *,
    services: ServicesDep,
    principal: Submitter,
    response: Response,
    job_id: str,
    changes: JobPatch,
    if_match: IfMatch = None,
) -> JobView:
    """Change priority, or whether a job may be paused for another. Both count while it waits."""

    async def act(session: AsyncSession, job: Job) -> None:
        if changes.priority is not None and changes.priority != job.priority:
            changed = PriorityChanged(from_priority=job.priority, to_priority=changes.priority, by=principal.name)
            await jobs.change(session, job, {Job.priority: changes.priority})
            await events.append(session, job.id, None, [(services.clock(), changed)])
        if changes.preemptible is not None and changes.preemptible != job.preemptible:
            await jobs.change(session, job, {Job.preemptible: changes.preemptible})

    view = await _change(services, principal, response, job_id, if_match, act)
    del response.headers["Location"]
    return view


async def _change(  # noqa: PLR0917 - all of them, in the order of the routes
    services: Services,
    principal: Principal,
    response: Response,
    job_id: str,
    if_match: str | None,
    act: Callable[[AsyncSession, Job], Awaitable[None]],
) -> JobView:
    async with services.database.writing() as session:
        job = await visible_job(session, principal, job_id, lock=True)
        if if_match not in (None, "*", views.etag(job.version)):
            raise ChangedMeanwhileError(
                f"job {job_id} has moved since {if_match}; read it again, and decide anew",
                job_id=job_id,
                etag=views.etag(job.version),
            )
        await act(session, job)
        await session.refresh(job)
        view = await views.load(session, job)
    services.wake_dispatcher.set()
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    response.headers["ETag"] = views.etag(view.version)
    return view
