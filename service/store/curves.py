"""Reads the curves of a job, with no more points than a chart can show."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.report import CurvePoint
from fgd_core.spec.views import MetricSeries as SeriesView
from service.jobs.points import MAX_STEP
from service.jobs.thinning import thin
from service.store.buckets import extremes
from service.store.metrics import BUCKET_STEPS
from service.store.tables import MetricBucket, MetricPoint, MetricSeries, table_of

_ENOUGH_BUCKETS = 128
"""With this many buckets the stored ones are fine enough; with fewer, all points are read, at most 131,072."""
_AT_ONCE = 500

_SERIES = table_of(MetricSeries)
_POINTS = table_of(MetricPoint)
_BUCKETS = table_of(MetricBucket)


@dataclass(frozen=True, kw_only=True)
class _Curve:
    series_id: int
    trial: str
    name: str
    rolled_up_to: int
    first: int | None
    """Step of the first point in the requested range; None if the range has no point."""
    last: int | None


async def read(
    session: AsyncSession,
    job_id: str,
    *,
    names: Sequence[str] | None = None,
    trial: str | None = None,
    from_step: int = 0,
    to_step: int = MAX_STEP,
    max_points: int,
) -> list[SeriesView]:
    """Return the curves of a job, sorted by trial and name; the session must read one moment (`read_consistently`).

    Args:
        names: only curves of these names; None for all.
        trial: only curves of this trial; None for all.
        max_points: maximum number of points of each curve. A longer curve is thinned to stored points, which include
            the lowest and the highest of each range of steps. 1 returns the newest point only, 0 returns none.
    """
    curves = await _find(session, job_id, names=names, trial=trial, steps=(from_step, to_step))
    if max_points < 2:
        curves = [_newest(curve) for curve in curves]
    points: dict[int, list[CurvePoint]] = defaultdict(list)
    if max_points > 0:
        points |= await _all_points(session, [curve for curve in curves if _is_short(curve, max_points)])
        for curve in curves:
            if curve.first is not None and not _is_short(curve, max_points):
                points[curve.series_id] = await _thinned(session, curve, max_points)
    return [SeriesView(name=curve.name, trial=curve.trial, points=points[curve.series_id]) for curve in curves]


async def trials(session: AsyncSession, job_id: str) -> list[str]:
    """Return the numbers of the trials of a job that have curves; empty for the job's own curves."""
    query = select(_SERIES.c.trial).where(_SERIES.c.job_id == job_id).distinct().order_by(_SERIES.c.trial)
    return list(await session.scalars(query))


async def _find(
    session: AsyncSession, job_id: str, *, names: Sequence[str] | None, trial: str | None, steps: tuple[int, int]
) -> list[_Curve]:
    in_range = (_POINTS.c.series_id == _SERIES.c.id, _POINTS.c.step.between(*steps))
    query = (
        select(
            _SERIES.c.id,
            _SERIES.c.trial,
            _SERIES.c.name,
            _SERIES.c.rolled_up_to,
            select(func.min(_POINTS.c.step)).where(*in_range).scalar_subquery(),
            select(func.max(_POINTS.c.step)).where(*in_range).scalar_subquery(),
        )
        .where(_SERIES.c.job_id == job_id)
        .order_by(_SERIES.c.trial, _SERIES.c.name)
    )
    if names is not None:
        query = query.where(_SERIES.c.name.in_(names))
    if trial is not None:
        query = query.where(_SERIES.c.trial == trial)
    return [
        _Curve(series_id=series_id, trial=trial, name=name, rolled_up_to=rolled_up_to, first=first, last=last)
        for series_id, trial, name, rolled_up_to, first, last in await session.execute(query)
    ]


def _newest(curve: _Curve) -> _Curve:
    return _Curve(**{**vars(curve), "first": curve.last})


def _is_short(curve: _Curve, max_points: int) -> bool:
    """Return whether the curve spans so few steps that it cannot exceed `max_points`."""
    return curve.first is not None and curve.last is not None and curve.last - curve.first < max_points


async def _all_points(session: AsyncSession, curves: Sequence[_Curve]) -> dict[int, list[CurvePoint]]:
    points: dict[int, list[CurvePoint]] = defaultdict(list)
    for start in range(0, len(curves), _AT_ONCE):
        some = {curve.series_id: curve for curve in curves[start : start + _AT_ONCE]}
        first = min(curve.first for curve in some.values() if curve.first is not None)
        last = max(curve.last for curve in some.values() if curve.last is not None)
        query = (
            select(_POINTS.c.series_id, _POINTS.c.step, _POINTS.c.value)
            .where(_POINTS.c.series_id.in_(list(some)), _POINTS.c.step.between(first, last))
            .order_by(_POINTS.c.series_id, _POINTS.c.step)
        )
        for series_id, step, value in await session.execute(query):
            points[series_id].append(CurvePoint(step=step, value=value))
    return points


async def _thinned(session: AsyncSession, curve: _Curve, max_points: int) -> list[CurvePoint]:
    first, last = curve.first, curve.last
    assert first is not None and last is not None
    query = (
        select(_POINTS.c.step, _POINTS.c.value)
        .where(_POINTS.c.series_id == curve.series_id, _POINTS.c.step.between(first, last))
        .order_by(_POINTS.c.step)
        .limit(max_points + 1)
    )
    rows = (await session.execute(query)).all()
    if len(rows) <= max_points:
        return [CurvePoint(step=step, value=value) for step, value in rows]
    # Stored buckets for the middle of the range, and single points at both ends.
    begin, end = -(-first // BUCKET_STEPS), min(curve.rolled_up_to, last + 1) // BUCKET_STEPS
    if end - begin < min(max_points // 4, _ENOUGH_BUCKETS):
        found = await _extremes(session, curve.series_id, first, last, max_points)
    else:
        found = await _extremes(session, curve.series_id, first, begin * BUCKET_STEPS - 1, max_points)
        found |= await _rolled_up(session, curve.series_id, begin, end)
        found |= await _extremes(session, curve.series_id, end * BUCKET_STEPS, last, max_points)
    return thin([CurvePoint(step=step, value=found[step]) for step in sorted(found)], max_points)


async def _extremes(session: AsyncSession, series_id: int, first: int, last: int, max_points: int) -> dict[int, float]:
    if last < first:
        return {}
    width = max(1, 2 * (last - first + 1) // max_points)
    return _both_ends((await session.execute(extremes(series_id, first, last, width))).all())


async def _rolled_up(session: AsyncSession, series_id: int, begin: int, end: int) -> dict[int, float]:
    query = select(_BUCKETS).where(
        _BUCKETS.c.series_id == series_id, _BUCKETS.c.bucket >= begin, _BUCKETS.c.bucket < end
    )
    return _both_ends((await session.execute(query)).all())


def _both_ends(rows: Iterable[Row[int, int, int, float, int, float]]) -> dict[int, float]:
    found = {}
    for _, _, min_step, min_value, max_step, max_value in rows:
        found[min_step] = min_value
        found[max_step] = max_value
    return found
