"""Queues jobs whose dependencies are met, and fails jobs whose dependencies cannot be met any more."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.results import ErrorReport
from service.dispatcher.context import Context
from service.jobs.lifecycle import OVER, Reason
from service.jobs.outcome import Step
from service.store import artifacts, jobs, queue
from service.store.tables import Job, JobDependency


class UnblockJobs:
    """Decides about blocked jobs whose dependencies have all ended, or of which one failed."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self) -> None:
        """Raises as `FanOut.each`."""
        async with self._context.database.reading() as session:
            decidable = await queue.decidable(session)
        await self._context.fan_out.each({f"unblocking of {job_id}": job_id for job_id in decidable}, self._unblock)

    async def _unblock(self, job_id: str) -> None:
        async with self._context.leadership.writing() as session:
            await unblock(session, job_id, self._context.clock())


async def unblock(session: AsyncSession, job_id: str, now: datetime) -> None:
    """Queue a blocked job if its dependencies are met; fail it if one of them cannot be met any more."""
    job = await jobs.get(session, job_id, lock=True)
    if job.state != "blocked":
        return
    dependencies = await jobs.dependencies(session, job_id)
    needed = await jobs.states(session, {dependency.needs_job_id for dependency in dependencies})
    for dependency in dependencies:
        if dependency.arm is not None:
            continue  # A study names the runs that failed in its report, and leaves them out.
        other = needed[dependency.needs_job_id]
        problem = await _problem(session, other, dependency)
        if problem is not None:
            error = ErrorReport(
                code=Reason.DEPENDENCY_FAILED.value,
                message=f"{problem}; submit that job again, and this one with its new id",
                details={"job_id": other.id, "artifact": dependency.artifact},
            )
            step = Step(to="failed", reason=Reason.DEPENDENCY_FAILED, message=error.message, error=error)
            await jobs.move(session, job, step, now=now)
            return
    waits_for = sorted(
        {other.id for dependency in dependencies if not _has_come(other := needed[dependency.needs_job_id], dependency)}
    )
    if waits_for:
        await jobs.explain(session, [job.id], "blocked", f"waits for {', '.join(waits_for)}")
    else:
        await jobs.move(session, job, Step(to="queued", reason=Reason.DEPENDENCIES_MET), now=now)


def _has_come(other: Job, dependency: JobDependency) -> bool:
    return other.state in OVER if dependency.arm is not None else other.state == "succeeded"


async def _problem(session: AsyncSession, other: Job, dependency: JobDependency) -> str | None:
    """Say why a dependency can never be met; None if it is met, or may be met later."""
    if other.state in ("failed", "cancelled"):
        return f"job {other.id}, whose {dependency.artifact} it needs, is {other.state}"
    if other.state == "succeeded" and await artifacts.get(session, other.id, dependency.artifact) is None:
        return f"job {other.id} succeeded and left no {dependency.artifact}"
    return None
