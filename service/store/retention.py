"""Finds the rows of ended jobs that retention may remove, and removes them in steps that block writers briefly."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, Text, and_, cast, delete, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from fgd_core.spec.housekeeping import Kind
from fgd_core.spec.trials import TrialEvent
from service.jobs.lifecycle import OVER
from service.jobs.retention import PROGRESS_KINDS, Days, EndedJob, Policy
from service.store.api_tokens import BOOTSTRAP
from service.store.deletion import num_deleted
from service.store.tables import (
    ApiToken,
    Artifact,
    Attempt,
    AttemptStream,
    AuditEntry,
    Base,
    Event,
    Job,
    JobDependency,
    MetricPoint,
    MetricSeries,
    ModelVersion,
    WebhookDelivery,
)

_OF_TRIAL = TrialEvent.model_fields["kind"].default
_STEP_ROWS = 10_000
"""Rows deleted in one transaction. It takes 0.1 to 0.2 s, during which other writers wait."""


LastReceived: TypeAlias = Mapping[tuple[int, str], int]
"""(attempt number, stream) -> highest stored sequence."""


class Rows(NamedTuple):
    """A number of rows and their approximate size."""

    num_rows: int
    size_bytes: int


class LongCurve(NamedTuple):
    """A curve with more points than retention keeps."""

    job_id: str
    series_id: int
    name: str
    num_points: int
    first_step: int
    last_step: int


async def ended_jobs(session: AsyncSession, *, before: datetime, after_id: str, limit: int) -> list[EndedJob]:
    """Return a page of the jobs that ended before a time, by id, after `after_id`."""
    query = (
        select(Job.id, Job.state, Job.ended_at, _is_needed(), ~_is_held())
        # Only a job that is over has ended. A condition on the state would make SQLite sort all jobs for each page.
        .where(Job.ended_at < before, Job.id > after_id)
        .order_by(Job.id)
        .limit(limit)
    )
    return [
        EndedJob(job_id=job_id, state=state, ended_at=ended_at, is_needed=is_needed, is_released=is_released)
        for job_id, state, ended_at, is_needed, is_released in await session.execute(query)
        if ended_at is not None
    ]


async def lock_if_unchanged(session: AsyncSession, job: EndedJob) -> bool:
    """Lock a job's row and return whether the job is still over since the same time and not needed.

    A job is needed if another job that is not over refers to it, or if a version of a model is one of its files.

    Until this transaction ends, nobody can retry the job, and no new job can refer to it.
    """
    query = select(Job.state, Job.ended_at).where(Job.id == job.job_id).with_for_update()
    row = (await session.execute(query)).one_or_none()
    if row is None or row.state not in OVER or row.ended_at != job.ended_at:
        return False
    return not await session.scalar(select(_is_needed()).where(Job.id == job.job_id))


async def needed_by(session: AsyncSession, job_id: str) -> list[str]:
    """Return the ids of the jobs that refer to this one and are not over."""
    query = (
        select(Job.id)
        .join(JobDependency, JobDependency.job_id == Job.id)
        .where(JobDependency.needs_job_id == job_id, Job.state.not_in(OVER))
        .distinct()
        .order_by(Job.id)
    )
    return list(await session.scalars(query))


async def is_released(session: AsyncSession, job_id: str) -> bool:
    """Return whether the cluster holds nothing of a job any more: all its attempts are archived."""
    return not await session.scalar(select(_is_held()).where(Job.id == job_id))


async def progress_rows(session: AsyncSession, job_ids: Sequence[str]) -> Mapping[str, Rows]:
    """Count each job's events of `PROGRESS_KINDS`, including those of the trials of a sweep."""
    query = (
        select(Event.job_id, func.count(), func.sum(func.length(cast(Event.data, Text))))
        .where(Event.job_id.in_(job_ids), _is_progress())
        .group_by(Event.job_id)
    )
    found = await session.execute(query)
    return {job_id: Rows(num_rows, int(size_bytes or 0)) for job_id, num_rows, size_bytes in found}


async def drop_progress(session: AsyncSession, job_id: str) -> int:
    """Delete a limited number of progress events; the other events keep their sequences.

    Returns:
        The number of deleted events; 0 at the end.
    """
    oldest = (
        select(Event.sequence).where(Event.job_id == job_id, _is_progress()).order_by(Event.sequence).limit(_STEP_ROWS)
    )
    return await num_deleted(session, Event, Event.job_id == job_id, Event.sequence.in_(oldest))


def _is_progress() -> ColumnElement[bool]:
    of_trial = and_(Event.kind == _OF_TRIAL, Event.data["event"]["kind"].as_string().in_(PROGRESS_KINDS))
    return or_(Event.kind.in_(PROGRESS_KINDS), of_trial)


async def long_curves(session: AsyncSession, job_ids: Sequence[str], num_points: int) -> list[LongCurve]:
    """Return the curves that have more than `num_points` points."""
    num, first, last = (
        select(value).where(MetricPoint.series_id == MetricSeries.id).scalar_subquery()
        for value in (func.count(), func.min(MetricPoint.step), func.max(MetricPoint.step))
    )
    # Thinning keeps two points of each bucket, and the first and last point of the curve.
    most = num_points + 2
    # Each step has one point, so a short curve is known by its ends, without counting. Counted in a join, SQLite
    # would read every stored point for each page of jobs.
    is_long = and_(last - first >= most, num > most)
    query = (
        select(MetricSeries.job_id, MetricSeries.id, MetricSeries.name, num, first, last)
        .where(MetricSeries.job_id.in_(job_ids), is_long)
        .order_by(MetricSeries.id)
    )
    return [LongCurve(*row) for row in await session.execute(query)]


def thinning_steps(curve: LongCurve, num_points: int) -> list[tuple[int, int]]:
    """Return ranges of steps (first, last); each is thinned in its own transaction."""
    width = _bucket_steps(curve, num_points)
    num_buckets = (curve.last_step - curve.first_step) // width + 1
    together = max(1, num_buckets * _STEP_ROWS // curve.num_points) * width
    return [(first, first + together - 1) for first in range(curve.first_step, curve.last_step + 1, together)]


async def thin(session: AsyncSession, curve: LongCurve, num_points: int, first: int, last: int) -> int:
    """Delete all points of a range except the lowest and the highest of each bucket of steps.

    A second call changes nothing.

    Args:
        first, last: one of the ranges of `thinning_steps`.
    Returns:
        The number of deleted points.
    """
    bucket = (MetricPoint.step - curve.first_step) // _bucket_steps(curve, num_points)
    in_range = and_(MetricPoint.series_id == curve.series_id, MetricPoint.step.between(first, last))
    ranked = (
        select(
            MetricPoint.step,
            func.row_number().over(partition_by=bucket, order_by=(MetricPoint.value, MetricPoint.step)).label("low"),
            func.row_number()
            .over(partition_by=bucket, order_by=(MetricPoint.value.desc(), MetricPoint.step))
            .label("high"),
        )
        .where(in_range)
        .subquery()
    )
    kept = select(ranked.c.step).where(or_(ranked.c.low == 1, ranked.c.high == 1))
    ends = MetricPoint.step.in_((curve.first_step, curve.last_step))
    return await num_deleted(session, MetricPoint, in_range, MetricPoint.step.not_in(kept), ~ends)


async def delete_artifact(session: AsyncSession, job_id: str, name: str) -> None:
    """Delete the row of an artifact."""
    await session.execute(delete(Artifact).where(Artifact.job_id == job_id, Artifact.name == name))


async def last_received(session: AsyncSession, job_ids: Sequence[str]) -> Mapping[str, LastReceived]:
    """Return the highest stored sequence of each stream of each job; jobs without streams are omitted."""
    query = (
        select(Attempt.job_id, Attempt.number, AttemptStream.stream, AttemptStream.last_sequence)
        .join(AttemptStream, Attempt.id == AttemptStream.attempt_id)
        .where(Attempt.job_id.in_(job_ids))
    )
    found: dict[str, dict[tuple[int, str], int]] = {}
    for job_id, number, stream, last in await session.execute(query):
        found.setdefault(job_id, {})[number, stream] = last
    return found


async def known(session: AsyncSession, job_ids: Sequence[str]) -> set[str]:
    """Return those of `job_ids` that exist."""
    return set(await session.scalars(select(Job.id).where(Job.id.in_(job_ids))))


class OldRows(NamedTuple):
    """Rows whose retention depends on their own age and not on the end of a job."""

    kind: Kind
    what: str
    table: type[Base]
    days: Callable[[Policy], Days]
    is_older: Callable[[datetime], ColumnElement[bool]]


# Leases are never deleted: a fencing token that starts at 1 again would accept an old holder. There is one row a name.
OLD_ROWS: Sequence[OldRows] = (
    OldRows(
        "audit_entries",
        "entries of the audit trail",
        AuditEntry,
        lambda policy: policy.audit_days,
        lambda before: AuditEntry.at < before,
    ),
    OldRows(
        "api_tokens",
        "expired and revoked tokens",
        ApiToken,
        lambda policy: policy.tokens_days,
        # The settings' token is excluded: without the row that says it was revoked, it would become valid again.
        lambda before: and_(or_(ApiToken.expires_at < before, ApiToken.revoked_at < before), ApiToken.id != BOOTSTRAP),
    ),
    OldRows(
        "webhook_deliveries",
        "finished webhook deliveries",
        WebhookDelivery,
        lambda policy: policy.deliveries_days,
        lambda before: and_(WebhookDelivery.next_try_at.is_(None), WebhookDelivery.created_at < before),
    ),
)


async def count_old(session: AsyncSession, rows: OldRows, policy: Policy, now: datetime) -> int:
    """Count the rows that are older than the policy keeps."""
    where = _old(rows, policy, now)
    if where is None:
        return 0
    return await session.scalar(select(func.count()).select_from(rows.table).where(where)) or 0


async def drop_old(session: AsyncSession, rows: OldRows, policy: Policy, now: datetime) -> int:
    """Delete a limited number of the rows that `count_old` counts; returns their number, 0 at the end."""
    where = _old(rows, policy, now)
    if where is None:
        return 0
    (key,) = rows.table.__table__.primary_key
    return await num_deleted(session, rows.table, key.in_(select(key).where(where).limit(_STEP_ROWS)))


def _old(rows: OldRows, policy: Policy, now: datetime) -> ColumnElement[bool] | None:
    days = rows.days(policy)
    return rows.is_older(now - timedelta(days=days)) if days is not None else None


def _bucket_steps(curve: LongCurve, num_points: int) -> int:
    return -(-(curve.last_step - curve.first_step + 1) // (num_points // 2))


def _is_needed() -> ColumnElement[bool]:
    needing = aliased(Job)
    of_job = (JobDependency.needs_job_id == Job.id, JobDependency.job_id == needing.id)
    by_a_job = exists(select(JobDependency.job_id).where(*of_job, needing.state.not_in(OVER)).correlate(Job))
    return or_(by_a_job, exists(select(ModelVersion.job_id).where(ModelVersion.job_id == Job.id).correlate(Job)))


def _is_held() -> ColumnElement[bool]:
    return exists(select(Attempt.id).where(Attempt.job_id == Job.id, Attempt.archived_at.is_(None)).correlate(Job))
