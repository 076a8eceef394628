"""Reads the number of jobs of each project or kind and state, which triggers keep, without looking at the jobs."""

from collections.abc import Collection, Mapping

from sqlalchemy import ScalarResult, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from fgd_core.spec.events import JobState
from service.store.tables import JobCount, JobKindCount

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


async def by_kind(session: AsyncSession) -> Mapping[tuple[JobState, str], int]:
    """Return the number of jobs of each state and kind; pairs without jobs may be omitted."""
    query = select(JobKindCount.state, JobKindCount.kind, func.sum(JobKindCount.num_jobs))
    rows = await session.execute(query.group_by(JobKindCount.state, JobKindCount.kind))
    return {(state, kind): num_jobs for state, kind, num_jobs in rows}


async def merge_shards(session: AsyncSession) -> None:
    """Add up the rows of connections that no longer exist, and those of idle ones.

    Rows that a transaction is changing are skipped: to wait for it could block both for ever.
    """
    await _merge(session, JobCount, JobCount.project)
    await _merge(session, JobKindCount, JobKindCount.kind)


async def _merge(
    session: AsyncSession, table: type[JobCount] | type[JobKindCount], group: InstrumentedAttribute[str]
) -> None:
    sums: dict[tuple[str, JobState], int] = {}
    rows: ScalarResult[JobCount | JobKindCount] = await session.scalars(select(table).with_for_update(skip_locked=True))
    for row in list(rows):
        key = getattr(row, group.key), row.state
        sums[key] = sums.get(key, 0) + row.num_jobs
        await session.delete(row)
    await session.flush()
    for (name, state), num_jobs in sorted(sums.items()):
        if num_jobs:
            session.add(table(**{group.key: name}, state=state, shard=_SUM_SHARD, num_jobs=num_jobs))
