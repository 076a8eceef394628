"""Deletes the rows of a job: marks the job, deletes points and events in short steps, then the other rows at once."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, or_, select, tuple_, update

from service.jobs.lifecycle import OVER
from service.store.tables import (
    Artifact,
    Attempt,
    AttemptStream,
    Base,
    Dataset,
    Event,
    Job,
    JobDataset,
    JobDependency,
    LoggerCurve,
    MetricBucket,
    MetricPoint,
    MetricSeries,
    ModelAlias,
    ModelVersion,
    WebhookDelivery,
)
from service.store.write_session import WriteSession

MARK = "deletion_requested"
"""The reason of a job that is being deleted; such a job does not change its state any more."""
_STEP_ROWS = 10_000


async def mark(session: WriteSession, job: Job) -> None:
    """Mark a job for deletion: housekeeping finishes the deletion even if this server dies.

    Also deletes the rows of its artifacts, so that no new job can refer to them.
    """
    await session.execute(update(Job).where(Job.id == job.id).values(reason=MARK, message="is being deleted"))
    await session.execute(delete(Artifact).where(Artifact.job_id == job.id))


async def marked(session: WriteSession) -> list[str]:
    """Return the ids of the jobs that are marked for deletion."""
    return list(await session.scalars(select(Job.id).where(Job.state.in_(OVER), Job.reason == MARK)))


async def check_marked(session: WriteSession, job_id: str) -> bool:
    """Lock the job's row and return whether it is marked; False if the row does not exist any more."""
    reason = await session.scalar(select(Job.reason).where(Job.id == job_id).with_for_update())
    return reason == MARK


async def delete_step(session: WriteSession, job_id: str) -> bool:
    """Delete a limited number of a marked job's rows. The last step deletes the job's own row.

    Returns:
        True if there may be more rows.
    """
    series = select(MetricSeries.id).where(MetricSeries.job_id == job_id)
    many: Sequence[tuple[type[Base], ColumnElement[bool]]] = (
        (MetricPoint, MetricPoint.series_id.in_(series)),
        (MetricBucket, MetricBucket.series_id.in_(series)),
        (Event, Event.job_id == job_id),
    )
    for table, of_job in many:
        if await _delete_some(session, table, of_job):
            return True
    attempts = select(Attempt.id).where(Attempt.job_id == job_id)
    rest: Sequence[tuple[type[Base], ColumnElement[bool]]] = (
        (LoggerCurve, LoggerCurve.series_id.in_(series)),
        (MetricSeries, MetricSeries.job_id == job_id),
        (AttemptStream, AttemptStream.attempt_id.in_(attempts)),
        (Attempt, Attempt.job_id == job_id),
        (WebhookDelivery, WebhookDelivery.job_id == job_id),
        # Also the rows of jobs that needed this one; all of them are over.
        (JobDependency, or_(JobDependency.job_id == job_id, JobDependency.needs_job_id == job_id)),
        (JobDataset, JobDataset.job_id == job_id),
        (ModelAlias, _names_a_version_of(job_id)),
        (ModelVersion, ModelVersion.job_id == job_id),
        (Job, Job.id == job_id),
    )
    await session.execute(update(Dataset).where(Dataset.check_job_id == job_id).values(check_job_id=None))
    for table, of_job in rest:
        await num_deleted(session, table, of_job)
    return False


def _names_a_version_of(job_id: str) -> ColumnElement[bool]:
    version = (ModelAlias.project, ModelAlias.name, ModelAlias.version)
    return tuple_(*version).in_(
        select(ModelVersion.project, ModelVersion.name, ModelVersion.version).where(ModelVersion.job_id == job_id)
    )


async def _delete_some(session: WriteSession, table: type[Base], of_job: ColumnElement[bool]) -> int:
    keys = list(table.__table__.primary_key)
    some = select(*keys).where(of_job).limit(_STEP_ROWS)
    return await num_deleted(session, table, tuple_(*keys).in_(some))


async def num_deleted(session: WriteSession, table: type[Base], *where: ColumnElement[bool]) -> int:
    """Delete rows and return their number."""
    statement = delete(table).where(*where).execution_options(synchronize_session=False)
    return int(getattr(await session.execute(statement), "rowcount", 0))
