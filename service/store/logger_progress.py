"""Stores how far each logger has copied events and curves, and reads what is new."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.store.all_events import BEGINNING, Position, is_ahead
from service.store.statements import upsert
from service.store.tables import LoggerCurve, LoggerPosition, MetricPoint, MetricSeries
from service.store.write_session import WriteSession


class NewPointsOf(NamedTuple):
    """Holds points of one curve that a logger has not copied; both columns are in the order of steps."""

    series_id: int
    trial: str
    curve: str
    steps: Sequence[int]
    values: Sequence[float]


async def position(session: AsyncSession, logger: str) -> Position:
    """Return the position behind the last event that the logger has copied; the beginning for a new logger."""
    row = await session.get(LoggerPosition, logger)
    found = Position(row.transaction_id, row.job_id, row.sequence) if row is not None else BEGINNING
    # The numbers of another database: this one was restored from a backup.
    return BEGINNING if await is_ahead(session, found) else found


async def save_position(session: WriteSession, logger: str, reached: Position) -> None:
    """Store that the logger has copied all events up to a position."""
    await upsert(session, LoggerPosition, [{"logger": logger, **reached._asdict()}])


async def new_points(session: AsyncSession, logger: str, job_id: str, *, limit: int) -> list[NewPointsOf]:
    """Return points of a job that the logger has not copied, at most `limit`, curve by curve."""
    copied = and_(LoggerCurve.series_id == MetricSeries.id, LoggerCurve.logger == logger)
    query = (
        select(MetricSeries.id, MetricSeries.trial, MetricSeries.name, MetricPoint.step, MetricPoint.value)
        .join(MetricPoint, MetricPoint.series_id == MetricSeries.id)
        .outerjoin(LoggerCurve, copied)
        .where(MetricSeries.job_id == job_id, MetricPoint.step > func.coalesce(LoggerCurve.step, -1))
        .order_by(MetricSeries.id, MetricPoint.step)
        .limit(limit)
    )
    rows = (await session.execute(query)).all()
    return [
        NewPointsOf(*curve, *([*column] for column in zip(*(row[3:] for row in points), strict=True)))
        for curve, points in groupby(rows, key=itemgetter(0, 1, 2))
    ]


async def save_copied(session: WriteSession, logger: str, copied: Sequence[NewPointsOf]) -> None:
    """Store that the logger has copied these points."""
    rows = [{"logger": logger, "series_id": each.series_id, "step": each.steps[-1]} for each in copied]
    await upsert(session, LoggerCurve, rows)
