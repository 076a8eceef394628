"""The queue: which jobs wait, for what, and when each one can start at the earliest."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from fgd_core.spec.views import HolderView, NodeView, QueuedJob, QueueView
from service.api import queue_order
from service.api.access import Reader
from service.api.deps import ServicesDep
from service.dispatcher.starting import MAX_EXPLAINED
from service.jobs.cluster import Capacity
from service.jobs.lifecycle import WAITING
from service.jobs.queueing import Held, Wait
from service.store import job_counts, queue
from service.store.queue import Waiting
from service.store.tables import Job

_CAPACITY_AGE_S = 2.0
_OF_JOB = ("name", "project", "kind", "state", "priority", "submitted_by", "preemptible", "started_at")

router = APIRouter(prefix="/v1/queue", tags=["queue"])


@router.get("", operation_id="get_queue")
async def get_queue(
    services: ServicesDep,
    principal: Reader,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Largest number of jobs")] = 500,
) -> QueueView:
    """List all waiting jobs in the order in which the dispatcher considers them, each with the reason for its wait.

    The order and the reasons come from the same rule that starts the jobs. For a reader of one project, positions
    above `limit` are lower bounds: not all jobs of other projects are counted.
    """
    now = services.clock()
    capacity = await services.capacity.recent(max_age_s=_CAPACITY_AGE_S)
    # As many as the dispatcher reads; and of jobs that are alike, no more than `limit` fit on the page.
    line = await queue_order.read_line(services.database, now, max_alike=max(limit, MAX_EXPLAINED))
    async with services.database.reading() as session:
        num_waiting = await job_counts.by_project(session, states=WAITING, only=principal.project)
    # The jobs of one project may lie far behind the first ones of the queue.
    max_waits = limit if principal.project is None else None
    order, waits = queue_order.in_order(line, capacity, max_waits=max_waits)
    shown = [job for job in order if principal.sees(job.project)][:limit]
    async with services.database.reading() as session:
        waiting = await queue.described(session, shown)
        others = await queue.held_back(session, now, project=principal.project, limit=limit - len(shown))
    position = {job.job_id: index for index, job in enumerate(order, start=1)}
    position |= {item.job.job_id: index for index, item in enumerate(others, start=len(order) + 1)}
    rows = [
        _row(position[job_id], item, waits.get(job_id) or _other_wait(item, capacity, now), now)
        for item in (*waiting, *others)
        for job_id in [item.job.job_id]
    ]
    running = [_holder(job, held) for job, held in queue_order.holders(line, capacity) if principal.sees(job.project)]
    return QueueView(items=rows, running=running, num_waiting=sum(num_waiting.values()), nodes=_nodes(capacity))


def _other_wait(item: Waiting, capacity: Capacity | None, now: datetime) -> Wait:
    """Return why a job waits that the scheduling rule did not consider."""
    if item.state == "blocked":
        return Wait("dependencies", item.message)
    if item.not_before is not None and item.not_before > now:
        return Wait("backoff", item.message, (item.not_before - now).total_seconds())
    if capacity is None:
        return Wait("cluster_away", "waits for the Ray cluster, which cannot be reached")
    return Wait("starts_now", "starts now", 0.0)


def _row(position: int, item: Waiting, wait: Wait, now: datetime) -> QueuedJob:
    return QueuedJob(
        **item.job._asdict(),
        position=position,
        name=item.name,
        state=item.state,
        pieces=item.job.tasks,
        code=wait.code,
        message=wait.message,
        not_before=now + timedelta(seconds=wait.not_before_s) if wait.not_before_s is not None else None,
        created_at=item.created_at,
    )


def _holder(job: Job, held: Held) -> HolderView:
    return HolderView(
        **{name: getattr(job, name) for name in _OF_JOB},
        job_id=job.id,
        cpus=held.cpus,
        gpus=held.gpus,
        workers=held.workers,
        eta_s=held.job.eta_s,
    )


def _nodes(capacity: Capacity | None) -> list[NodeView] | None:
    if capacity is None:
        return None
    return [NodeView(**vars(node)) for node in capacity.nodes]
