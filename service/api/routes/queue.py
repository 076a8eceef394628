"""The queue: which jobs wait, for what, and when each one can start at the earliest."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from fgd_core.spec.views import NodeView, QueuedJob, QueueView
from service.api.access import Reader
from service.api.deps import ServicesDep
from service.jobs import scheduling
from service.jobs.cluster import Capacity
from service.jobs.queueing import Wait
from service.store import attempts, projects, queue
from service.store.queue import Waiting

_CAPACITY_AGE_S = 2.0

router = APIRouter(prefix="/v1/queue", tags=["queue"])


@router.get("", operation_id="get_queue")
async def get_queue(
    services: ServicesDep,
    principal: Reader,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Largest number of jobs")] = 500,
) -> QueueView:
    """List all waiting jobs in the order in which the dispatcher considers them, each with the reason for its wait.

    The order and the reasons come from the same rule that starts the jobs.
    """
    now = services.clock()
    capacity = await services.capacity.recent(max_age_s=_CAPACITY_AGE_S)
    async with services.database.reading() as session:
        waiting = await queue.waiting(session)
        active = await attempts.active(session)
        limits = await projects.limits(session)
    ready = [item.job for item in waiting if _is_ready(item, now)]
    waits: Mapping[str, Wait] = {}
    order = [job.job_id for job in ready]
    if capacity is not None:
        choice = scheduling.choose(
            ready,
            # A run that has sent a heartbeat already holds its resources on the cluster.
            active=[
                queue.active_of(job, attempt, is_placed=attempt.heartbeat_at is not None) for job, attempt in active
            ],
            capacity=capacity,
            limits=limits,
        )
        waits = choice.wait
        order = [*choice.start, *waits]
    rank = {job_id: index for index, job_id in enumerate(order)}
    ordered = sorted(waiting, key=lambda item: (rank.get(item.job.job_id, len(rank)), item.created_at))
    rows = [
        _row(position, item, waits.get(item.job.job_id) or _other_wait(item, capacity, now), now)
        for position, item in enumerate(ordered, start=1)
        if principal.sees(item.job.project)
    ]
    return QueueView(items=rows[:limit], num_waiting=len(rows), nodes=_nodes(capacity))


def _is_ready(item: Waiting, now: datetime) -> bool:
    return item.state == "queued" and (item.not_before is None or item.not_before <= now)


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


def _nodes(capacity: Capacity | None) -> list[NodeView] | None:
    if capacity is None:
        return None
    return [NodeView(**vars(node)) for node in capacity.nodes]
