"""Stores a batch of points by a single PostgreSQL statement, if the points continue existing curves.

The statement is its own transaction, so a batch takes one round trip instead of six. In any other case (a new curve, a
step that is rolled up, a gap, a repeated batch, a stale attempt) it changes nothing, and `recording.record` decides.

The statement locks each row that another transaction may change meanwhile: PostgreSQL then evaluates the conditions on
the newest version of the row.
"""

from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Float,
    Select,
    Table,
    Text,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from fgd_core.spec.events import JobState
from service.jobs.lifecycle import ON_CLUSTER
from service.jobs.points import Points
from service.store.tables import Attempt, AttemptStream, Job, MetricPoint, MetricSeries


async def store(
    connection: AsyncConnection,
    *,
    attempt_id: str,
    token_sha256: str,
    stream: str,
    first: int,
    last: int,
    points: Points,
    now: datetime,
    heartbeat_grain: timedelta,
) -> JobState | None:
    """Store a batch that contains only points.

    Args:
        connection: to PostgreSQL, without a transaction.
        first, last: first and last sequence of the batch, which has no gaps.
    Returns:
        The job's state; None if nothing was stored.
    """
    given = {
        "names": [name for name, column in points.items() for _ in column.steps],
        "steps": [step for column in points.values() for step in column.steps],
        "point_values": [value for column in points.values() for value in column.values],
    }
    report = {"of_attempt": attempt_id, "of_token": token_sha256, "of_stream": stream, "before": first - 1}
    beat = {"now": now, "due": now - heartbeat_grain}
    state: JobState | None = await connection.scalar(_statement(), {**given, **report, **beat, "last": last})
    return state


@cache
def _statement() -> Select[JobState]:
    jobs: Table = Job.__table__  # type: ignore[assignment]
    attempts: Table = Attempt.__table__  # type: ignore[assignment]
    streams: Table = AttemptStream.__table__  # type: ignore[assignment]
    series: Table = MetricSeries.__table__  # type: ignore[assignment]
    stored: Table = MetricPoint.__table__  # type: ignore[assignment]

    arrays = (
        bindparam("names", type_=ARRAY(Text)),
        bindparam("steps", type_=ARRAY(BigInteger)),
        bindparam("point_values", type_=ARRAY(Float)),
    )
    given = select(func.unnest(*arrays).table_valued("name", "step", "value").render_derived()).cte("given")
    run = (
        select(jobs.c.id, jobs.c.state)
        .join_from(attempts, jobs, jobs.c.current_attempt_id == attempts.c.id)
        .where(attempts.c.id == bindparam("of_attempt"), attempts.c.token_sha256 == bindparam("of_token"))
        .where(attempts.c.ended_at.is_(None), jobs.c.state.in_(ON_CLUSTER))
        .with_for_update(of=jobs)
        .cte("run")
    )
    curves = (
        select(series.c.id, series.c.name, series.c.rolled_up_to)
        .join_from(series, run, series.c.job_id == run.c.id)
        .where(series.c.trial == "", series.c.name.in_(select(given.c.name)))
        # The lock delays the roll-up of the curve until our points are visible; otherwise it would skip them.
        .with_for_update(of=series, read=True, key_share=True)
        .cte("curves")
    )
    unusual = (
        select(given.c.step)
        .select_from(given.outerjoin(curves, curves.c.name == given.c.name))
        .where(or_(curves.c.id.is_(None), given.c.step < curves.c.rolled_up_to))
    )
    heard = (
        update(streams)
        .where(streams.c.attempt_id == bindparam("of_attempt"), streams.c.stream == bindparam("of_stream"))
        .where(streams.c.last_sequence == bindparam("before"), exists(select(run.c.id)), ~exists(unusual))
        .values(last_sequence=bindparam("last"))
        .returning(streams.c.attempt_id)
        .cte("heard")
    )
    points = insert(stored).from_select(
        ["series_id", "step", "value"],
        select(curves.c.id, given.c.step, given.c.value)
        .join_from(given, curves, curves.c.name == given.c.name)
        .where(exists(select(heard.c.attempt_id))),
    )
    points = points.on_conflict_do_update(
        index_elements=["series_id", "step"], set_={"value": points.excluded["value"]}
    )
    alive = (
        update(attempts)
        .where(attempts.c.id == bindparam("of_attempt"), exists(select(heard.c.attempt_id)))
        .where(or_(attempts.c.heartbeat_at.is_(None), attempts.c.heartbeat_at <= bindparam("due")))
        .values(heartbeat_at=bindparam("now"))
    )
    return (
        select(run.c.state)
        .where(exists(select(heard.c.attempt_id)))
        .add_cte(points.returning(stored.c.step).cte("points"), alive.returning(attempts.c.id).cte("alive"))
    )
