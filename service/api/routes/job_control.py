"""Job control: cancel, pause, resume and retry a job, and change its place in the queue."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Header, Response
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError
from fgd_core.spec.control_events import (
    CancelRequested,
    PauseRequested,
    PriorityChanged,
    ResumeRequested,
    RetryRequested,
)
from fgd_core.spec.views import JobPatch, JobView
from service.api.access import JobId, Principal, Submitter, visible_job
from service.api.deps import Services, ServicesDep
from service.errors import ChangedMeanwhileError
from service.jobs import control
from service.store import events, jobs, study_runs, views
from service.store.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Act: TypeAlias = Callable[[AsyncSession, Job], Awaitable[None]]
IfMatch = Annotated[
    str | None, Header(description="The job's ETag; if the job has changed since, the request fails with 412")
]


@dataclass(frozen=True)
class _Change:
    """A request to change a job."""

    services: Services
    principal: Principal
    response: Response
    job_id: str
    if_match: str | None

    async def apply(self, act: Act) -> JobView:
        """Run `act` on the locked job and on the runs of a study, wake the dispatcher, and return the job.

        Raises:
            ChangedMeanwhileError: `If-Match` names another version of the job.
        """
        async with self.services.database.writing() as session:
            job = await visible_job(session, self.principal, self.job_id, lock=True)
            if self.if_match not in (None, "*", views.etag(job.version)):
                raise ChangedMeanwhileError(
                    f"job {self.job_id} has changed since the version {self.if_match}; read it again, then repeat the "
                    "request with its new ETag",
                    job_id=self.job_id,
                    etag=views.etag(job.version),
                )
            # The runs of a study first: its own next state depends on theirs.
            for run in await study_runs.of_study(session, job.id, lock=True) if job.kind == "study" else ():
                # A run that has ended, or that a user has moved already, stays as it is.
                with suppress(ConflictError):
                    await act(session, run.job)
            await act(session, job)
            await session.refresh(job)
            view = await views.load(session, job)
        self.services.wake_dispatcher.set()
        self.response.headers["ETag"] = views.etag(view.version)
        return view

    async def accept(self, act: Act) -> JobView:
        """Apply a change that the dispatcher completes later."""
        view = await self.apply(act)
        self.response.headers["Location"] = f"/v1/jobs/{self.job_id}"
        return view


async def _change(
    services: ServicesDep, principal: Submitter, response: Response, job_id: JobId, if_match: IfMatch = None
) -> _Change:
    return _Change(services, principal, response, job_id, if_match)


ChangeDep = Annotated[_Change, Depends(_change)]


@router.post("/{job_id}/cancel", status_code=202, operation_id="cancel_job")
async def cancel(change: ChangeDep) -> JobView:
    """Cancel a job. A waiting job is cancelled at once; a running one saves a checkpoint and stops.

    A run that does not stop within its grace period is ended by the dispatcher.
    """

    async def act(session: AsyncSession, job: Job) -> None:
        step = control.cancel(job.state)
        if step is not None:
            requested = CancelRequested(by=change.principal.name)
            await jobs.move(session, job, step, now=change.services.clock(), extra=[requested])

    return await change.accept(act)


@router.post("/{job_id}/pause", status_code=202, operation_id="pause_job")
async def pause(change: ChangeDep) -> JobView:
    """Pause a job until it is resumed. A running job saves its exact step first, and frees its resources."""

    async def act(session: AsyncSession, job: Job) -> None:
        step = control.pause(job.state)
        requested = PauseRequested(by=change.principal.name)
        if step is not None:
            await jobs.move(session, job, step, now=change.services.clock(), extra=[requested])
        elif job.resumes_itself:
            # It was preempted for an urgent job; from now on it stays paused after that.
            await jobs.change(session, job, {Job.resumes_itself: False})
            await events.append(session, job.id, None, [(change.services.clock(), requested)])

    return await change.accept(act)


@router.post("/{job_id}/resume", status_code=202, operation_id="resume_job")
async def resume(change: ChangeDep) -> JobView:
    """Queue a paused job again. It continues at the step where it paused, with the same result as without a pause."""

    async def act(session: AsyncSession, job: Job) -> None:
        requested = ResumeRequested(by=change.principal.name)
        step = control.resume(job.state, waits=await jobs.waits(session, job.id))
        if step is not None:
            await jobs.move(session, job, step, now=change.services.clock(), extra=[requested])
        elif not job.resumes_itself:
            await jobs.change(session, job, {Job.resumes_itself: True})
            await events.append(session, job.id, None, [(change.services.clock(), requested)])

    return await change.accept(act)


@router.post("/{job_id}/retry", status_code=202, operation_id="retry_job")
async def retry(change: ChangeDep) -> JobView:
    """Queue a failed or cancelled job again. It continues from its newest checkpoint, with full retry budgets."""

    async def act(session: AsyncSession, job: Job) -> None:
        step = control.retry(job.state, waits=await jobs.waits(session, job.id))
        requested = RetryRequested(by=change.principal.name)
        reset = {Job.failures: 0, Job.losses: 0, Job.not_before: None, Job.ended_at: None, Job.error: None}
        await jobs.move(session, job, step, now=change.services.clock(), extra=[requested], columns=reset)

    return await change.accept(act)


@router.patch("/{job_id}", operation_id="patch_job")
async def patch(change: ChangeDep, changes: JobPatch) -> JobView:
    """Change a job's priority, or whether the scheduler may pause it for another job."""

    async def act(session: AsyncSession, job: Job) -> None:
        if changes.priority is not None and changes.priority != job.priority:
            changed = PriorityChanged(
                from_priority=job.priority, to_priority=changes.priority, by=change.principal.name
            )
            await jobs.change(session, job, {Job.priority: changes.priority})
            await events.append(session, job.id, None, [(change.services.clock(), changed)])
        if changes.preemptible is not None and changes.preemptible != job.preemptible:
            await jobs.change(session, job, {Job.preemptible: changes.preemptible})

    return await change.apply(act)
