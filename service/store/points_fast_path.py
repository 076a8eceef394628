"""Points of curves that go on where they ended, in a single statement: PostgreSQL's quick way to store a report.

The statement is its own transaction, so a report is one round trip and not six. Whatever is out of the ordinary (a new
curve, a step that was rolled up, a gap, a repeat, a stale attempt) makes it do nothing, and `recording.record` decides.

Every row that another transaction may have changed meanwhile is read under its lock: PostgreSQL then looks at the
row's newest version, and asks the conditions of that one.
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
    """Store a report that holds nothing but points; the job's state, or None where nothing was done.

    Args:
        connection: of a PostgreSQL, without a transaction.
        first, last: sequences of the report, without a gap.
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
        # Whoever rolls up the curve waits until our points can be seen: it would step over them.
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
