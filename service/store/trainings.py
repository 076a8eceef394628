"""Reads trainings as forecasts need them: the newest finished ones of a project, and one job."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.base import Fact
from fgd_core.spec.checkpoint_references import parse_reference
from fgd_core.spec.prediction import PREDICTED_KINDS
from service.jobs.forecast.trainings import Training, best_so_far, identity
from service.store.tables import Event, Job, MetricPoint, MetricSeries
from service.store.tables.json_values import JsonObject

_MAX_RUNS = 200
"""The newest finished trainings that count."""
_EXAMINED = 1000
"""The newest jobs of a project that are examined for them."""
_FIRST_EVENTS = 100
"""The teacher is checked before the first step; a run has fewer events until then."""
_AP = "val/ap"

_COLUMNS = (
    *(Job.id, Job.spec, Job.best_ap, Job.state, Job.progress),
    *(Job.created_at, Job.started_at, Job.ended_at),
)


class _Row(Fact):
    """The columns of a job that a forecast needs."""

    id: str
    spec: JsonObject
    best_ap: float | None
    state: str
    progress: JsonObject
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


async def finished(session: AsyncSession, project: str, *, but: str = "") -> list[Training]:
    """Return the newest finished trainings of a project.

    Args:
        but: id of a job to leave out.
    """
    newest = (Job.created_at.desc(), Job.id.desc())
    of_project = select(Job.id).where(Job.project == project, Job.state == "succeeded").order_by(*newest)
    query = (
        select(*_COLUMNS)
        .where(Job.id.in_(select(of_project.limit(_EXAMINED).subquery().c.id)))
        .where(Job.kind.in_(PREDICTED_KINDS), Job.best_ap.is_not(None), Job.id != but)
        .order_by(*newest)
        .limit(_MAX_RUNS)
    )
    return await _trainings(session, [_Row(**row._mapping) for row in await session.execute(query)])


async def of_job(session: AsyncSession, job_id: str) -> Training:
    """Return a training as it is now; the job exists and is of one of `PREDICTED_KINDS`."""
    row = (await session.execute(select(*_COLUMNS).where(Job.id == job_id))).one()
    (found,) = await _trainings(session, [_Row(**row._mapping)])
    return found


async def of_spec(session: AsyncSession, spec: JsonObject) -> Training:
    """Return a training that is not submitted yet.

    Args:
        spec: in JSON; its kind is one of `PREDICTED_KINDS`.
    """
    teachers = await _teacher_jobs(session, [spec])
    teacher_ap = teachers.get(_teacher(spec) or "")
    return Training(**identity(spec)._asdict(), curve=[], final=None, teacher_ap=teacher_ap)


async def _trainings(session: AsyncSession, rows: Sequence[_Row]) -> list[Training]:
    job_ids = [row.id for row in rows]
    curves, checked = await _curves(session, job_ids), await _checked_teachers(session, job_ids)
    teachers = await _teacher_jobs(session, [row.spec for row in rows])
    return [
        Training(
            **identity(row.spec)._asdict(),
            curve=best_so_far(curves.get(row.id, ()), row.progress.get("steps") or 1),
            final=row.best_ap if row.state == "succeeded" else None,
            teacher_ap=checked.get(row.id, teachers.get(_teacher(row.spec) or "")),
            started_s=(row.started_at or row.created_at).timestamp(),
            ended_s=row.ended_at.timestamp() if row.ended_at is not None else float("inf"),
        )
        for row in rows
    ]


async def _curves(session: AsyncSession, job_ids: Sequence[str]) -> Mapping[str, list[tuple[int, float]]]:
    query = (
        select(MetricSeries.job_id, MetricPoint.step, MetricPoint.value)
        .join(MetricPoint, MetricPoint.series_id == MetricSeries.id)
        .where(MetricSeries.job_id.in_(job_ids), MetricSeries.trial == "", MetricSeries.name == _AP)
    )
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for job_id, step, value in await session.execute(query):
        found[job_id].append((step, value))
    return found


async def _checked_teachers(session: AsyncSession, job_ids: Sequence[str]) -> Mapping[str, float]:
    """Return the AP of each run's first teacher on its validation images, as the run has measured it."""
    query = select(Event.job_id, Event.data).where(
        Event.job_id.in_(job_ids), Event.sequence <= _FIRST_EVENTS, Event.kind == "teacher_checked"
    )
    found = {}
    for job_id, data in await session.execute(query):
        if data.get("number", 1) == 1 and data.get("ap") is not None:
            found[job_id] = data["ap"]
    return found


async def _teacher_jobs(session: AsyncSession, specs: Sequence[JsonObject]) -> Mapping[str, float]:
    """Return the best AP of the jobs that trained the teachers, by id."""
    wanted = {job_id for spec in specs if (job_id := _teacher(spec)) is not None}
    query = select(Job.id, Job.best_ap).where(Job.id.in_(wanted), Job.best_ap.is_not(None))
    return {job_id: ap for job_id, ap in await session.execute(query) if ap is not None}


def _teacher(spec: JsonObject) -> str | None:
    """Return the id of the job whose checkpoint is the teacher; None for a file or a plain training."""
    checkpoint = (spec.get("teacher") or {}).get("checkpoint") or ""
    reference = parse_reference(checkpoint) if checkpoint.startswith("job:") else None
    return reference.job_id if reference is not None else None
