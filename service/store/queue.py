"""Reads the waiting jobs with few columns, and only as many as may start or are shown.

There may be a hundred thousand, and the dispatcher reads the queue every second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeAlias

from pydantic import ValidationError
from sqlalchemy import (
    CTE,
    BindParameter,
    ColumnElement,
    Integer,
    Select,
    SQLColumnExpression,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from fgd_core.spec.events import JobState
from fgd_core.spec.views import ProgressView
from service.jobs.lifecycle import OVER, STOPPING, WAITING
from service.jobs.queueing import Active, Queued
from service.store.statements import unindexed
from service.store.tables import Attempt, Job, JobDependency, UtcDateTime


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


_Column: TypeAlias = SQLColumnExpression[Any]
_ALIKE = ("project", "priority", "cpus", "gpus", "tasks", "workers", "min_workers")
"""The fields of `Queued` after the id. Jobs that have the same values start oldest first."""
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


async def startable(session: AsyncSession, now: datetime, *, max_alike: int) -> list[Queued]:
    """Return queued jobs whose back-off is over, oldest first. The cost does not grow with the jobs left out.

    Args:
        max_alike: number of jobs returned of each project, priority and size, or a few more if some were created at
            the same moment; later ones cannot start before them.
    """
    found = await session.execute(_startable(), {"now": now, "before_last": max_alike - 1})
    rows = sorted((row for row in found if row.id is not None), key=lambda row: (row.created_at, row.id))
    return [Queued._make(row[:-1]) for row in rows]


# Cached: the dispatcher asks each second, and building this statement took a hundred times as long as its execution.
@cache
def _startable() -> Select[*tuple[Any, ...]]:
    # `head` is one job of each group of jobs that are alike.
    heads, head, job, peer = _heads(), aliased(Job), aliased(Job), aliased(Job)
    now = bindparam("now", type_=UtcDateTime())
    last_at = (
        select(peer.created_at)
        .where(_is_ready(peer, now), *_are_alike(peer, head))
        .order_by(peer.created_at, peer.id)
        .offset(bindparam("before_last", type_=Integer()))
        .limit(1)
        .correlate(head)
        .scalar_subquery()
    )
    latest = func.coalesce(last_at, literal(_END_OF_TIME, UtcDateTime()))
    # Outer joins, because SQLite keeps their order: group by group, each through the index.
    return (
        select(job.id, *_fields(job), job.created_at)
        .select_from(heads)
        .outerjoin(head, head.id == heads.c.id)
        .outerjoin(job, and_(_is_ready(job, now), *_are_alike(job, head), job.created_at <= latest))
    )


async def described(session: AsyncSession, queued: Sequence[Queued]) -> list[Waiting]:
    """Return queued jobs with what the queue shows of them, in the same order; those that have gone are omitted."""
    # No condition on the state: SQLite would read all queued jobs for it.
    rows = await _waiting(session, Job.id.in_([job.job_id for job in queued]))
    found = {row.job.job_id: row for row in rows if row.state in WAITING}
    return [found[job.job_id] for job in queued if job.job_id in found]


async def held_back(session: AsyncSession, now: datetime, *, project: str | None, limit: int) -> list[Waiting]:
    """Return jobs that wait for another job or for the end of their back-off, oldest first.

    Args:
        project: the only project; None for all.
    """
    if limit <= 0:
        return []
    is_blocked = (Job.state == "blocked",)
    is_backing_off = (_is_queued(Job), Job.not_before > now)
    # Two statements, because each has an index of its own.
    found = await _waiting(session, *is_blocked, project=project, order=(Job.created_at, Job.id), limit=limit)
    found += await _waiting(session, *is_backing_off, project=project, order=(Job.not_before,), limit=limit)
    return sorted(found, key=lambda row: (row.created_at, row.job.job_id))[:limit]


async def _waiting(
    session: AsyncSession,
    *which: ColumnElement[bool],
    project: str | None = None,
    order: Sequence[_Column] = (),
    limit: int | None = None,
) -> list[Waiting]:
    query = select(Job.id, *_fields(Job), Job.name, Job.state, Job.message, Job.not_before, Job.created_at).where(
        *which
    )
    if project is not None:
        query = query.where(Job.project == project)
    number = len(Queued._fields)
    rows = await session.execute(query.order_by(*order).limit(limit))
    return [Waiting(Queued._make(row[:number]), *row[number:]) for row in rows]


def _heads() -> CTE:
    """Return one queued job of each group: each step jumps in the index to the first job of the next group."""
    first, last, following = Job, aliased(Job), aliased(Job)
    heads = select(_first(first).scalar_subquery().label("id")).cte("heads", recursive=True)
    # As expressions: SQLite compares a column of integers with another column by another rule than its index, and would
    # use the index for the project only. With the end of time: it begins at equal rows, and would read the whole group.
    group = [*(unindexed(field) for field in _fields(last)), literal(_END_OF_TIME, UtcDateTime())]
    is_later = tuple_(*_fields(following), following.created_at) > tuple_(*group)
    jump = _first(following).where(is_later).correlate(last).scalar_subquery()
    return heads.union_all(select(jump).select_from(heads).join(last, last.id == heads.c.id))


def _first(job: type[Job]) -> Select[str]:
    return select(job.id).where(_is_queued(job)).order_by(*_fields(job)).limit(1)


def _fields(job: type[Job]) -> Sequence[_Column]:
    return [getattr(job, name) for name in _ALIKE]


def _are_alike(job: type[Job], other: type[Job]) -> Sequence[ColumnElement[bool]]:
    return [getattr(job, name) == getattr(other, name) for name in _ALIKE]


def _is_queued(job: type[Job]) -> ColumnElement[bool]:
    return job.state == "queued"


def _is_ready(job: type[Job], now: BindParameter[datetime]) -> ColumnElement[bool]:
    return and_(_is_queued(job), or_(job.not_before.is_(None), job.not_before <= now))


async def wait_reasons(session: AsyncSession, job_ids: Sequence[str]) -> dict[str, str]:
    """Return the message of each job: why it waits, as last explained."""
    return {row.id: row.message for row in await session.execute(_REASONS, {"job_ids": job_ids})}


_REASONS = select(Job.id, Job.message).where(Job.id.in_(bindparam("job_ids", expanding=True)))


async def decidable(session: AsyncSession) -> list[str]:
    """Return blocked jobs that can be decided: all jobs that they need are over, or one of them can never be used."""
    return list(await session.scalars(_decidable()))


@cache
def _decidable() -> Select[str]:
    needed = aliased(Job)
    needs = select(JobDependency).join(needed, needed.id == JobDependency.needs_job_id)
    of_job = JobDependency.job_id == Job.id
    # A study also answers without the runs that failed.
    is_hopeless = exists(needs.where(of_job, JobDependency.arm.is_(None), needed.state.in_(("failed", "cancelled"))))
    is_open = exists(needs.where(of_job, needed.state.not_in(OVER)))
    return select(Job.id).where(Job.state == "blocked", or_(is_hopeless, ~is_open)).order_by(Job.created_at)


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
