"""Stores which jobs are the runs of a study: the study depends on the end of each, however it ended."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import insert, select

from fgd_core.spec.comparison import EVIDENCE
from fgd_core.spec.study_runs import PartOfStudy, StudyRunView
from service.store.tables import Job, JobDependency
from service.store.write_session import WriteSession


class StudyRun(NamedTuple):
    """A job that is a run of a study."""

    arm: str
    job: Job


async def link(session: WriteSession, study_id: str, runs: Sequence[StudyRun]) -> None:
    """Make stored jobs the runs of a study."""
    await session.execute(
        insert(JobDependency),
        [{"job_id": study_id, "needs_job_id": job.id, "artifact": EVIDENCE, "arm": arm} for arm, job in runs],
    )


async def of_study(session: WriteSession, study_id: str, *, lock: bool = False) -> list[StudyRun]:
    """Return the runs of a study in the order in which they were planned; empty if the job is no study.

    Args:
        lock: against other writers.
    """
    query = (
        select(JobDependency.arm, Job)
        .join(Job, Job.id == JobDependency.needs_job_id)
        .where(JobDependency.job_id == study_id, JobDependency.arm.is_not(None))
        .order_by(Job.created_at, Job.id)
    )
    rows = await session.execute(query.with_for_update(of=Job) if lock else query)
    return [StudyRun(arm or "", job) for arm, job in rows]


async def study_of(session: WriteSession, job_id: str) -> PartOfStudy | None:
    """Return the study that a job is a run of."""
    query = (
        select(Job.id, Job.name, JobDependency.arm)
        .join(JobDependency, JobDependency.job_id == Job.id)
        .where(JobDependency.needs_job_id == job_id, JobDependency.arm.is_not(None))
    )
    row = (await session.execute(query)).first()
    return PartOfStudy(job_id=row.id, name=row.name, arm=row.arm) if row is not None else None


def view(run: StudyRun) -> StudyRunView:
    """Return a run as the API shows it."""
    return StudyRunView(job_id=run.job.id, arm=run.arm, seed=run.job.spec["seed"], state=run.job.state)
