"""Reads the waiting jobs with few columns: there may be ten thousand, and the dispatcher reads them every second."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, SQLColumnExpression, case, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from fgd_core.spec.events import JobState
from fgd_core.spec.views import ProgressView
from service.jobs.lifecycle import OVER, STOPPING, WAITING
from service.jobs.queueing import Active, Queued
from service.store.tables import Attempt, Job, JobDependency


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits, blocked or queued."""

    job: Queued
    name: str
    state: JobState
    message: str
    """Why the job waits, as last explained."""
    not_before: datetime | None
    created_at: datetime


def _pieces() -> ColumnElement[int]:
    """The trials that a sweep runs at once, read from its spec; of other jobs the spec is not even unpacked."""
    return case((Job.kind == "sweep", func.coalesce(Job.spec["concurrent_trials"].as_integer(), 1)), else_=1)


def _fields() -> Sequence[SQLColumnExpression[Any]]:
    """The fields of `Queued` after the id."""
    return (Job.project, Job.priority, Job.cpus, Job.gpus, _pieces().label("tasks"), Job.workers, Job.min_workers)


async def waiting(session: AsyncSession, project: str | None = None) -> list[Waiting]:
    """Return the blocked and queued jobs of one project, or of all, oldest first."""
    query = (
        select(Job.id, *_fields(), Job.name, Job.state, Job.message, Job.not_before, Job.created_at)
        .where(Job.state.in_(WAITING))
        .order_by(Job.created_at, Job.id)
    )
    if project is not None:
        query = query.where(Job.project == project)
    number = len(Queued._fields)
    return [Waiting(Queued._make(row[:number]), *row[number:]) for row in await session.execute(query)]


async def startable(session: AsyncSession, now: datetime, *, max_alike: int) -> list[Queued]:
    """Return queued jobs whose back-off is over, oldest first.

    Args:
        max_alike: number of jobs returned of each project, priority and size; later ones cannot start before them.
    """
    alike = _fields()
    age = (Job.created_at, Job.id)
    ranked = (
        select(Job.id, *alike, Job.created_at, func.row_number().over(partition_by=alike, order_by=age).label("rank"))
        .where(Job.state == "queued", or_(Job.not_before.is_(None), Job.not_before <= now))
        .subquery()
    )
    first = ranked.c
    query = (
        select(first.id, *(first[name] for name in Queued._fields[1:]))
        .where(first.rank <= max_alike)
        .order_by(first.created_at, first.id)
    )
    rows = (await session.execute(query)).all()
    return list(map(Queued._make, rows))


async def wait_reasons(session: AsyncSession, job_ids: Sequence[str]) -> dict[str, str]:
    """Return the message of each job: why it waits, as last explained."""
    query = select(Job.id, Job.message).where(Job.id.in_(job_ids))
    return {row.id: row.message for row in await session.execute(query)}


async def decidable(session: AsyncSession) -> list[str]:
    """Return blocked jobs that can be decided: all jobs that they need have succeeded, or one of them never will."""
    needed = aliased(Job)
    needs = select(JobDependency).join(needed, needed.id == JobDependency.needs_job_id)
    of_job = JobDependency.job_id == Job.id
    is_hopeless = exists(needs.where(of_job, needed.state.in_(("failed", "cancelled"))))
    is_open = exists(needs.where(of_job, needed.state.not_in(OVER)))
    query = select(Job.id).where(Job.state == "blocked", or_(is_hopeless, ~is_open))
    return list(await session.scalars(query.order_by(Job.created_at)))


def active_of(job: Job, attempt: Attempt, *, is_placed: bool) -> Active:
    """Return what the scheduler needs to know about a job on the cluster."""
    return Active(
        job_id=job.id,
        project=job.project,
        priority=job.priority,
        cpus=job.cpus,
        gpus=job.gpus,
        tasks=job.spec.get("concurrent_trials", 1) if job.kind == "sweep" else 1,
        workers=job.workers,
        min_workers=job.min_workers,
        is_placed=is_placed,
        is_preemptible=job.preemptible and job.state == "running",
        is_stopping=job.state in STOPPING,
        eta_s=_eta_s(job) if attempt.heartbeat_at is not None else None,
    )


def _eta_s(job: Job) -> float | None:
    """Return the estimated seconds left; None if the progress cannot be read, which must not stop the whole queue."""
    try:
        return ProgressView.model_validate(job.progress).eta_s
    except ValidationError:
        return None
