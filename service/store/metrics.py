"""The curves of a job."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.report import CurvePoint
from fgd_core.spec.views import MetricSeries as SeriesView
from service.jobs.progress import Point
from service.store.session import upsert
from service.store.tables import MetricPoint, MetricSeries


async def record(session: AsyncSession, job_id: str, points: Sequence[Point], *, trial: str = "") -> None:
    """Store points; a resumed run goes over some steps again, and its newer values win."""
    numbers = await _numbers(session, job_id, trial, {point.name for point in points})
    rows = [{"series_id": numbers[point.name], "step": point.step, "value": point.value} for point in points]
    await upsert(session, MetricPoint, rows)


async def _numbers(session: AsyncSession, job_id: str, trial: str, names: set[str]) -> dict[str, int]:
    """The row of each curve, made where it is new."""
    query = select(MetricSeries.name, MetricSeries.id).where(
        MetricSeries.job_id == job_id, MetricSeries.trial == trial, MetricSeries.name.in_(names)
    )
    known: dict[str, int] = dict((await session.execute(query)).tuples().all())
    for name in sorted(names - known.keys()):
        row = MetricSeries(job_id=job_id, trial=trial, name=name)
        session.add(row)
        await session.flush()
        known[name] = row.id
    return known


async def series(session: AsyncSession, job_id: str, names: Sequence[str] | None = None) -> list[SeriesView]:
    """All curves of a job, or those of some names, by name; each with its points by step."""
    query = (
        select(MetricSeries.trial, MetricSeries.name, MetricPoint.step, MetricPoint.value)
        .join(MetricPoint, MetricPoint.series_id == MetricSeries.id)
        .where(MetricSeries.job_id == job_id)
        .order_by(MetricSeries.trial, MetricSeries.name, MetricPoint.step)
    )
    if names is not None:
        query = query.where(MetricSeries.name.in_(names))
    curves: dict[tuple[str, str], list[CurvePoint]] = {}
    for trial, name, step, value in await session.execute(query):
        curves.setdefault((trial, name), []).append(CurvePoint(step=step, value=value))
    return [SeriesView(name=name, trial=trial, points=points) for (trial, name), points in curves.items()]
