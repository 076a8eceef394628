"""Reads what earlier runs of a project took, and what the runs of a job have taken."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.jobs.costs.estimate import OwnRun
from service.jobs.costs.stored import StoredRun, StoredTrial
from service.jobs.lifecycle import is_over
from service.store import attempts, study_runs
from service.store.study_runs import StudyRun
from service.store.tables import Attempt, Event, Job
from service.store.tables.json_values import JsonObject

_RUNS = ("train", "distill", "chain", "evaluate")
_MAX_RUNS, _MAX_SWEEPS = 200, 3
"""The newest ones that count."""
_EXAMINED = 1000
"""The newest jobs of a project that are examined for them."""
_FIRST_EVENTS = 100
"""A run has fewer events until its first step."""
_TRIAL_EVENTS = 2000
"""The events of a sweep that are examined for trials."""


async def earlier(session: AsyncSession, project: str) -> tuple[list[StoredRun], list[StoredTrial]]:
    """Return what the newest runs of a project that succeeded took, and the trials of its newest sweeps."""
    newest = (Job.created_at.desc(), Job.id.desc())
    of_project = select(Job.id).where(Job.project == project, Job.state == "succeeded").order_by(*newest)
    known = Job.id.in_(select(of_project.limit(_EXAMINED).subquery().c.id))
    columns = (Job.id, Job.spec, Job.progress, Job.ended_at)
    trained = select(*columns).where(known, Job.kind.in_(_RUNS)).order_by(*newest).limit(_MAX_RUNS)
    rows = (await session.execute(trained)).all()
    ids = [row.id for row in rows]
    tried, starts = await attempts.of_jobs(session, ids), await _starts(session, ids)
    runs = [
        StoredRun(
            spec=row.spec,
            epochs=row.progress.get("epoch") or None,
            ran_s=attempts.ran_s(tried[row.id]),
            ended_s=row.ended_at.timestamp(),
            machine=starts[row.id].machine,
            start_s=starts[row.id].seconds_after(tried[row.id][0].started_at),
        )
        for row in rows
        if row.id in tried
    ]
    searched = select(Job.id, Job.spec).where(known, Job.kind == "sweep").order_by(*newest).limit(_MAX_SWEEPS)
    sweeps = {row.id: row.spec for row in await session.execute(searched)}
    return runs, await _trials(session, sweeps)


async def of_job(session: AsyncSession, job: Job, *, now_s: float) -> list[OwnRun]:
    """Return the runs of a study, or the run that a job is.

    Args:
        now_s: POSIX time.
    """
    runs = await study_runs.of_study(session, job.id) if job.kind == "study" else [StudyRun(job.kind, job)]
    tried = await attempts.of_jobs(session, [run.job.id for run in runs])
    return [_own(run, tried.get(run.job.id, []), now_s) for run in runs]


def _own(run: StudyRun, tried: Sequence[Attempt], now_s: float) -> OwnRun:
    name, job = run
    began = [each.started_at.timestamp() for each in tried if each.started_at is not None]
    open_s = [now_s - each.started_at.timestamp() for each in tried if each.started_at and not each.ended_at]
    return OwnRun(
        name=name,
        ran_s=attempts.ran_s(tried) + sum(open_s),
        began_s=min(began, default=None),
        ended_s=job.ended_at.timestamp() if is_over(job.state) and job.ended_at is not None else None,
        left_s=job.progress.get("eta_s") if job.state == "running" else None,
    )


class _Start(NamedTuple):
    machine: str = ""
    stepped_at: datetime | None = None
    """When the run reported its first steps."""

    def seconds_after(self, started_at: datetime | None) -> float:
        if self.stepped_at is None or started_at is None:
            return 0.0
        return (self.stepped_at - started_at).total_seconds()


async def _starts(session: AsyncSession, job_ids: Sequence[str]) -> Mapping[str, _Start]:
    """Return how each run started: on which machine, and when its first steps were reported."""
    query = (
        select(Event.job_id, Event.kind, Event.at, Event.data)
        .where(Event.job_id.in_(job_ids), Event.sequence <= _FIRST_EVENTS)
        .where(Event.kind.in_(("device_ready", "progress")))
        .order_by(Event.job_id, Event.sequence)
    )
    found: defaultdict[str, _Start] = defaultdict(_Start)
    for job_id, kind, at, data in await session.execute(query):
        start = found[job_id]
        if kind == "device_ready":
            found[job_id] = start._replace(machine=data.get("processor") or data["device"])
        elif start.stepped_at is None:
            found[job_id] = start._replace(stepped_at=at)
    return found


async def _trials(session: AsyncSession, sweeps: Mapping[str, JsonObject]) -> list[StoredTrial]:
    query = (
        select(Event.job_id, Event.at, Event.data)
        .where(Event.job_id.in_(sweeps), Event.sequence <= _TRIAL_EVENTS)
        .where(Event.kind.in_(("trial_started", "trial_ended")))
        .order_by(Event.job_id, Event.sequence)
    )
    begun: dict[tuple[str, int, int], tuple[datetime, JsonObject]] = {}
    found = []
    for job_id, at, data in await session.execute(query):
        key = (job_id, data["trial"], data.get("segment", 0))
        if data["kind"] == "trial_started":
            begun[key] = (at, data)
            continue
        began_at, start = begun.pop(key, (at, data))
        epochs = data["epoch"] - start.get("from_epoch", 0)
        # Another sweep has trained the trials of a fork.
        if data["cause"] in ("completed", "stopped", "paused") and epochs > 0 and start.get("origin") != "fork":
            took_s = (at - began_at).total_seconds()
            values, machine = start.get("values", {}), data.get("machine", "")
            found.append(StoredTrial(sweeps[job_id], values, epochs, took_s, at.timestamp(), machine))
    return found
