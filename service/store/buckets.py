"""Rolling up: the lowest and the highest point of each run of steps, so that a long curve is drawn from few rows.

Done off the path of the reports, a piece at a time, by any number of control planes side by side. Steps from a curve's
`rolled_up_to` on have no buckets that count; whoever writes a point below it lowers it.
"""

import asyncio
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Select, Table, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import FgdError
from service.clock import Clock
from service.jobs.lifecycle import ON_CLUSTER
from service.store.metrics import BUCKET_STEPS
from service.store.session import Database
from service.store.tables import Job, MetricBucket, MetricPoint, MetricSeries

EVERY_S = 5.0
MAX_POINTS = 32 * BUCKET_STEPS
"""Rolled up in one transaction, which other writers wait for on SQLite: about 20 ms."""
MAX_PIECES = 64
"""In one pass, so that a backlog leaves the machine to others in between."""
_RECENT = timedelta(hours=1)

_POINTS: Table = MetricPoint.__table__  # type: ignore[assignment]
_BUCKETS: Table = MetricBucket.__table__  # type: ignore[assignment]

log = structlog.get_logger(__name__)


async def keep_rolled_up(database: Database, clock: Clock) -> None:
    """Roll up until cancelled: all jobs at first, then those that may have got new points."""
    since: datetime | None = None
    while True:
        now = clock()
        try:
            is_done = await roll_up_all(database, ended_since=since)
        except FgdError as error:
            log.warning("roll_up_failed", error=str(error))
            is_done = False
        except Exception:
            # Curves are right without it, only slower to draw: one mistake must not end it for good.
            log.exception("roll_up_failed")
            is_done = False
        if is_done:
            since = now - _RECENT
        await asyncio.sleep(EVERY_S)


async def roll_up_all(database: Database, *, ended_since: datetime | None = None) -> bool:
    """One pass over the curves of jobs that run or have ended since; whether nothing is left to do."""
    async with database.reading() as session:
        waiting = list(await session.scalars(_behind(ended_since)))
    for series_id in waiting:
        has_more = True
        while has_more:
            async with database.writing() as session:
                has_more = await roll_up(session, series_id)
    return len(waiting) < MAX_PIECES


async def roll_up(session: AsyncSession, series_id: int, *, max_points: int = MAX_POINTS) -> bool:
    """Roll up the next piece of one curve, of about `max_points`; whether there is more to do.

    The bucket that the newest point lies in is left for later: it is still filling.
    """
    row = MetricSeries.__table__.c
    query = select(row.rolled_up_to).where(row.id == series_id).with_for_update(skip_locked=True)
    begin = await session.scalar(query)
    if begin is None:
        return False  # Somebody writes to it or rolls it up right now.
    of_curve = _POINTS.c.series_id == series_id
    last = await session.scalar(select(func.max(_POINTS.c.step)).where(of_curve))
    # Counted in points and not in steps, for there may be a gap of any width.
    query = select(_POINTS.c.step).where(of_curve, _POINTS.c.step >= begin).order_by(_POINTS.c.step)
    some = await session.scalar(query.offset(max(max_points, BUCKET_STEPS)).limit(1))
    until = last if some is None else some
    if until is None or (end := until // BUCKET_STEPS * BUCKET_STEPS) <= begin:
        return False
    found = extremes(series_id, begin, end - 1, BUCKET_STEPS)
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(_BUCKETS).from_select([column.name for column in _BUCKETS.c], found)
    newer = {column.name: statement.excluded[column.name] for column in _BUCKETS.c if not column.primary_key}
    await session.execute(statement.on_conflict_do_update(index_elements=["series_id", "bucket"], set_=newer))
    await session.execute(update(MetricSeries).where(row.id == series_id).values(rolled_up_to=end))
    return some is not None


def extremes(series_id: int, first: int, last: int, width: int) -> Select[int, int, int, float, int, float]:
    """The rows of `metric_buckets` that steps from `first` to `last` would have with buckets of `width` steps."""
    of_curve = (_POINTS.c.series_id == series_id, _POINTS.c.step.between(first, last))
    bucket = (_POINTS.c.step // width).label("bucket")
    ranges = (
        select(bucket, func.min(_POINTS.c.value).label("lowest"), func.max(_POINTS.c.value).label("highest"))
        .where(*of_curve)
        .group_by(bucket)
        .cte("ranges")
    )
    min_step = func.min(_POINTS.c.step).filter(_POINTS.c.value == ranges.c.lowest)
    max_step = func.min(_POINTS.c.step).filter(_POINTS.c.value == ranges.c.highest)
    return (
        select(_POINTS.c.series_id, ranges.c.bucket, min_step, ranges.c.lowest, max_step, ranges.c.highest)
        .select_from(ranges)
        .join(_POINTS, _POINTS.c.step.between(ranges.c.bucket * width, ranges.c.bucket * width + (width - 1)))
        .where(*of_curve)
        .group_by(_POINTS.c.series_id, ranges.c.bucket, ranges.c.lowest, ranges.c.highest)
    )


def _behind(ended_since: datetime | None) -> Select[int]:
    """Curves with a bucket that is full and not rolled up."""
    last = select(func.max(MetricPoint.step)).where(MetricPoint.series_id == MetricSeries.id).scalar_subquery()
    query = select(MetricSeries.id).where(last >= MetricSeries.rolled_up_to + BUCKET_STEPS).limit(MAX_PIECES)
    if ended_since is not None:
        query = query.join(Job, Job.id == MetricSeries.job_id).where(
            or_(Job.state.in_(ON_CLUSTER), Job.ended_at >= ended_since)
        )
    return query
