"""The curves of a job."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.report import CurvePoint
from fgd_core.spec.views import MetricSeries
from service.jobs.progress import Point
from service.store.session import upsert
from service.store.tables import MetricPoint


async def record(session: AsyncSession, job_id: str, points: Sequence[Point], *, trial: str = "") -> None:
    """Store points; a resumed run goes over some steps again, and its newer values win."""
    rows = [{"job_id": job_id, "trial": trial, "name": p.name, "step": p.step, "value": p.value} for p in points]
    await upsert(session, MetricPoint, rows)


async def series(session: AsyncSession, job_id: str, names: Sequence[str] | None = None) -> list[MetricSeries]:
    """All curves of a job, or those of some names, by name; each with its points by step."""
    query = (
        select(MetricPoint.trial, MetricPoint.name, MetricPoint.step, MetricPoint.value)
        .where(MetricPoint.job_id == job_id)
        .order_by(MetricPoint.trial, MetricPoint.name, MetricPoint.step)
    )
    if names is not None:
        query = query.where(MetricPoint.name.in_(names))
    curves: dict[tuple[str, str], list[CurvePoint]] = {}
    for trial, name, step, value in await session.execute(query):
        curves.setdefault((trial, name), []).append(CurvePoint(step=step, value=value))
    return [MetricSeries(name=name, trial=trial, points=points) for (trial, name), points in curves.items()]
