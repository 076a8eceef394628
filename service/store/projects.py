"""Stores the weights and limits of projects and computes their usage. A project without a row has the defaults."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.jobs.lifecycle import ON_CLUSTER, WAITING
from service.jobs.queueing import Limits
from service.store import job_counts
from service.store.statements import upsert
from service.store.tables import Job, Project


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Holds what the jobs of a project use now."""

    running_jobs: int = 0
    gpus: int = 0
    queued_jobs: int = 0


async def limits(session: AsyncSession) -> dict[str, Limits]:
    """Return the limits of the projects that have a row."""
    return {
        row.name: Limits(weight=row.weight, max_running_jobs=row.max_running_jobs, max_gpus=row.max_gpus)
        for row in await session.scalars(_ALL)
    }


_ALL = select(Project)


async def set_limits(session: AsyncSession, name: str, wanted: Limits, now: datetime) -> None:
    """Set the limits of a project; inserts its row if it has none."""
    values = asdict(wanted)
    changed = await session.scalar(update(Project).where(Project.name == name).values(values).returning(Project.name))
    if changed is None:
        # Two requests may insert the row at the same time.
        await upsert(session, Project, [{"name": name, "created_at": now, **values}])


async def usage(session: AsyncSession, only: str | None = None) -> dict[str, Usage]:
    """Return the usage of each project that has jobs, or of the project `only`."""
    projects = await job_counts.by_project(session, only=only)
    queued = await job_counts.by_project(session, states=WAITING, only=only)
    query = (
        select(Job.project, func.count(), func.sum(Job.gpus * Job.workers))
        .where(Job.state.in_(ON_CLUSTER))
        .group_by(Job.project)
    )
    if only is not None:
        query = query.where(Job.project == only)
    held = {project: (running, gpus) for project, running, gpus in await session.execute(query)}
    return {name: _usage(queued.get(name, 0), *held.get(name, (0, 0))) for name in projects}


def _usage(num_queued: int, num_running: int, gpus: int) -> Usage:
    return Usage(running_jobs=num_running, gpus=gpus, queued_jobs=num_queued)
