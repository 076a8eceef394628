"""Asks the rule that starts jobs in which order the waiting ones come, and why each of them waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.jobs import scheduling
from service.jobs.cluster import Capacity
from service.jobs.queueing import Active, Held, Limits, Queued, Wait
from service.store import attempts, projects, queue
from service.store.session import Database
from service.store.tables import Attempt, Job


@dataclass(frozen=True)
class Line:
    """The jobs that may start, as the database has them at one moment."""

    ready: Sequence[Queued]
    """Oldest first."""
    active: Sequence[tuple[Job, Attempt]]
    limits: Mapping[str, Limits]

    def with_last(self, job: Queued) -> "Line":
        """Return the line with one more job, the newest one."""
        return Line([*self.ready, job], self.active, self.limits)


async def read_line(database: Database, now: datetime, *, max_alike: int) -> Line:
    """Read the jobs that may start; `max_alike` as for `queue.startable`."""
    async with database.reading() as session:
        return Line(
            await queue.startable(session, now, max_alike=max_alike),
            await attempts.active(session),
            await projects.limits(session),
        )


def holders(line: Line, capacity: Capacity | None) -> list[tuple[Job, Held]]:
    """Return the jobs on the cluster with what each holds, counted as the rule that starts jobs counts it."""
    active = _active(line)
    found = (
        scheduling.held(active, capacity) if capacity is not None else [Held(job, job.min_workers) for job in active]
    )
    return [(job, held) for (job, _), held in zip(line.active, found, strict=True)]


def in_order(
    line: Line, capacity: Capacity | None, *, max_waits: int | None = None
) -> tuple[Sequence[Queued], Mapping[str, Wait]]:
    """Return the jobs in the order of the dispatcher, and why those wait that cannot start now.

    Args:
        capacity: None if the cluster does not answer; then the jobs keep the order of their age.
        max_waits: as for `scheduling.choose`; jobs that it ignores are left out.
    """
    if capacity is None:
        return line.ready, {}
    choice = scheduling.choose(
        line.ready,
        active=_active(line),
        capacity=capacity,
        limits=line.limits,
        max_waits=max_waits,
    )
    by_id = {job.job_id: job for job in line.ready}
    return [by_id[job_id] for job_id in (*choice.start, *choice.wait)], choice.wait


def _active(line: Line) -> list[Active]:
    # A run that has sent a heartbeat already holds its resources on the cluster.
    return [queue.active_of(job, attempt, is_placed=attempt.heartbeat_at is not None) for job, attempt in line.active]
