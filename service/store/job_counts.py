"""Reads the number of jobs of each project and state, which triggers keep, without looking at the jobs."""

from collections.abc import Collection, Mapping

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.events import JobState
from service.store.tables import JobCount

_TOTAL = func.sum(JobCount.num_jobs)
_SUM_SHARD = 0


async def by_project(
    session: AsyncSession, *, states: Collection[JobState] | None = None, only: str | None = None
) -> Mapping[str, int]:
    """Return the number of jobs of each project that has jobs.

    Args:
        states: count only jobs in these states; None for all.
        only: the only project; None for all.
    """
    query = select(JobCount.project, _TOTAL).group_by(JobCount.project).having(_TOTAL > 0)
    if states is not None:
        query = query.where(JobCount.state.in_(states))
    if only is not None:
        query = query.where(JobCount.project == only)
    return dict(iter(await session.execute(query)))


async def merge_shards(session: AsyncSession) -> None:
    """Add up the rows of connections that no longer exist, and those of idle ones.

    Rows that a transaction is changing are skipped: to wait for it could block both for ever.
    """
    rows = list(await session.scalars(select(JobCount).with_for_update(skip_locked=True)))
    sums: dict[tuple[str, JobState], int] = {}
    for row in rows:
        sums[row.project, row.state] = sums.get((row.project, row.state), 0) + row.num_jobs
        await session.delete(row)
    await session.flush()
    session.add_all(
        JobCount(project=project, state=state, shard=_SUM_SHARD, num_jobs=num_jobs)
        for (project, state), num_jobs in sorted(sums.items())
        if num_jobs
    )
