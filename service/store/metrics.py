"""Writes the points of curves. `curves` reads them, `buckets` makes long curves fast to read."""

from collections.abc import Sequence

from sqlalchemy import bindparam, insert, select, update

from service.jobs.points import Points
from service.store.statements import core, upsert_columns
from service.store.tables import MetricPoint, MetricSeries, table_of
from service.store.write_session import WriteSession

BUCKET_STEPS = 1024

_SERIES = table_of(MetricSeries)
_POINTS = table_of(MetricPoint)


async def record(session: WriteSession, job_id: str, points: Points, *, trial: str = "") -> None:
    """Store points. A resumed run repeats some steps; its newer values replace the older ones.

    The job's row must be locked: two transactions that create the same curve at once would conflict.
    """
    if not points:
        return
    curves = await _curves(session, job_id, trial, list(points))
    series_ids: list[int] = []
    steps: list[int] = []
    values: list[float] = []
    for name, column in points.items():
        series_ids.extend([curves[name][0]] * len(column.steps))
        steps.extend(column.steps)
        values.extend(column.values)
    await upsert_columns(session, _POINTS, {"series_id": series_ids, "step": steps, "value": values})
    for name, column in points.items():
        series_id, rolled_up_to = curves[name]
        first = min(column.steps)
        if first < rolled_up_to:
            # The bucket of a replaced point is wrong now. Readers use the points themselves from its first step on.
            whole = first // BUCKET_STEPS * BUCKET_STEPS
            await session.execute(update(_SERIES).where(_SERIES.c.id == series_id).values(rolled_up_to=whole))


_KNOWN = (
    select(_SERIES.c.name, _SERIES.c.id, _SERIES.c.rolled_up_to)
    .where(
        _SERIES.c.job_id == bindparam("job_id"),
        _SERIES.c.trial == bindparam("trial"),
        _SERIES.c.name.in_(bindparam("names", expanding=True)),
    )
    # The lock delays the roll-up of the curve until our points are visible; otherwise it would skip them.
    .with_for_update(read=True, key_share=True)
)


async def _curves(session: WriteSession, job_id: str, trial: str, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return (id, rolled_up_to) of each curve by name; inserts the rows of new curves."""
    found = await (await core(session)).execute(_KNOWN, {"job_id": job_id, "trial": trial, "names": names})
    known = {name: (series_id, rolled_up_to) for name, series_id, rolled_up_to in found}
    new = [name for name in names if name not in known]
    if new:
        rows = [{"job_id": job_id, "trial": trial, "name": name, "rolled_up_to": 0} for name in new]
        made = await session.execute(insert(_SERIES).values(rows).returning(_SERIES.c.name, _SERIES.c.id))
        known |= {name: (series_id, 0) for name, series_id in made}
    return known
