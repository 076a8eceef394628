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
    CTE,
    BigInteger,
    Float,
    Select,
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
from service.store.tables import Attempt, AttemptStream, Job, MetricPoint, MetricSeries, table_of


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


_JOBS = table_of(Job)
_ATTEMPTS = table_of(Attempt)
_STREAMS = table_of(AttemptStream)
_SERIES = table_of(MetricSeries)
_POINTS = table_of(MetricPoint)


@cache
def _statement() -> Select[JobState]:
    given = _given_points()
    run = _locked_run()
    curves = _locked_curves(given, run)
    advanced = _advanced_stream(given, run, curves)
    is_advanced = exists(select(advanced.c.attempt_id))
    points = insert(_POINTS).from_select(
        ["series_id", "step", "value"],
        select(curves.c.id, given.c.step, given.c.value)
        .join_from(given, curves, curves.c.name == given.c.name)
        .where(is_advanced),
    )
    points = points.on_conflict_do_update(
        index_elements=["series_id", "step"], set_={"value": points.excluded["value"]}
    )
    alive = (
        update(_ATTEMPTS)
        .where(_ATTEMPTS.c.id == bindparam("of_attempt"), is_advanced)
        .where(or_(_ATTEMPTS.c.heartbeat_at.is_(None), _ATTEMPTS.c.heartbeat_at <= bindparam("due")))
        .values(heartbeat_at=bindparam("now"))
    )
    return (
        select(run.c.state)
        .where(is_advanced)
        .add_cte(points.returning(_POINTS.c.step).cte("points"), alive.returning(_ATTEMPTS.c.id).cte("alive"))
    )


def _given_points() -> CTE:
    arrays = (
        bindparam("names", type_=ARRAY(Text)),
        bindparam("steps", type_=ARRAY(BigInteger)),
        bindparam("point_values", type_=ARRAY(Float)),
    )
    return select(func.unnest(*arrays).table_valued("name", "step", "value").render_derived()).cte("given")


def _locked_run() -> CTE:
    """Select the job of the attempt, if the token is right and the attempt may write."""
    return (
        select(_JOBS.c.id, _JOBS.c.state)
        .join_from(_ATTEMPTS, _JOBS, _JOBS.c.current_attempt_id == _ATTEMPTS.c.id)
        .where(_ATTEMPTS.c.id == bindparam("of_attempt"), _ATTEMPTS.c.token_sha256 == bindparam("of_token"))
        .where(_ATTEMPTS.c.ended_at.is_(None), _JOBS.c.state.in_(ON_CLUSTER))
        .with_for_update(of=_JOBS)
        .cte("run")
    )


def _locked_curves(given: CTE, run: CTE) -> CTE:
    return (
        select(_SERIES.c.id, _SERIES.c.name, _SERIES.c.rolled_up_to)
        .join_from(_SERIES, run, _SERIES.c.job_id == run.c.id)
        .where(_SERIES.c.trial == "", _SERIES.c.name.in_(select(given.c.name)))
        # The lock delays the roll-up of the curve until our points are visible; otherwise it would skip them.
        .with_for_update(of=_SERIES, read=True, key_share=True)
        .cte("curves")
    )


def _advanced_stream(given: CTE, run: CTE, curves: CTE) -> CTE:
    """Advance the stream if the batch continues it, and all points continue curves that exist."""
    unusual = (
        select(given.c.step)
        .select_from(given.outerjoin(curves, curves.c.name == given.c.name))
        .where(or_(curves.c.id.is_(None), given.c.step < curves.c.rolled_up_to))
    )
    return (
        update(_STREAMS)
        .where(_STREAMS.c.attempt_id == bindparam("of_attempt"), _STREAMS.c.stream == bindparam("of_stream"))
        .where(_STREAMS.c.last_sequence == bindparam("before"), exists(select(run.c.id)), ~exists(unusual))
        .values(last_sequence=bindparam("last"))
        .returning(_STREAMS.c.attempt_id)
        .cte("advanced")
    )
