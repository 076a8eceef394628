"""Ends attempts whose run is dead, with the events that the run stored and could not deliver.

A run's outbox is a file in the job's folder, which outlives its process: one `ReportedEvent` as JSON per line, in
order. A living run sends the events itself; for a dead run the control plane reads the file.
"""

import asyncio
from contextlib import suppress

import structlog
from pydantic import ValidationError

from fgd_core.errors import ClusterError, LostRunError
from fgd_core.spec.attempts import ReportedEvent
from fgd_core.spec.results import ErrorReport
from service.dispatcher.context import Context
from service.dispatcher.excerpts import Excerpt
from service.jobs.cluster import ClusterJob
from service.jobs.outcome import after_loss
from service.storage.base import Storage
from service.storage.paths import job_folder
from service.store import attempts, jobs, recording
from service.store.runs import Run
from service.store.tables import Attempt, Job

_LAST_LINES = 20
_MAX_OUTBOX_BYTES = 50_000_000

log = structlog.get_logger(__name__)


async def mark_lost(
    context: Context, job: Job, attempt: Attempt, found: ClusterJob | None, cause: str = "the cluster does not know it"
) -> None:
    """End an attempt whose run is gone, unless the run has reported since `attempt` was read.

    Args:
        found: the run's state in the cluster; None if the cluster does not know the run, or does not answer about it.
        cause: why the run counts as lost where `found` is None.
    """
    error = await _error(context, attempt, found, cause)
    now = context.clock()
    undelivered = await asyncio.to_thread(read_outbox, context.storage, attempt)
    async with context.leadership.writing() as session:
        current = await jobs.get(session, job.id, lock=True)
        latest = await attempts.find(session, attempt.id)
        if latest is None or latest.heartbeat_at != attempt.heartbeat_at or not Run.of(current, latest).may_write:
            return
        end = await recording.store_undelivered(session, current, latest, undelivered, now=now)
        if end is None:
            await attempts.end(session, attempt.id, "lost", error, now)
            budgets = jobs.budgets(current, latest)
            steps = after_loss(current.state, error, budgets, resumes_itself=current.resumes_itself)
            for step in steps:
                await jobs.move(session, current, step, now=now, attempt=attempt.number)
    # Counted after the commit: a transaction that is rolled back is repeated, and would be counted twice.
    context.metrics.attempts_ended.labels(end or "lost").inc()
    if end is None:
        log.warning("run_lost", job_id=job.id, submission_id=attempt.submission_id, became=steps[-1].to)
    else:
        log.info("final_event_recovered", job_id=job.id, submission_id=attempt.submission_id)
    context.wake.set()


async def _error(context: Context, attempt: Attempt, found: ClusterJob | None, cause: str) -> ErrorReport:
    output = Excerpt()
    if found is not None:
        # Logs are best effort: they may be lost with the node.
        with suppress(ClusterError):
            output = await context.cluster.logs(attempt.submission_id)
        cause = _without_log(found.message)
    return ErrorReport(
        code=LostRunError.code,
        message=f"the run ended without a final event; Ray reports: {cause or (found.status if found else '')}",
        details={
            "submission_id": attempt.submission_id,
            "cluster_status": found.status if found is not None else None,
            "cluster_message": cause,
            "last_lines": list(output.last_lines(_LAST_LINES)),
        },
        retryable=LostRunError.retryable,
    )


def _without_log(cluster_message: str) -> str:
    """Return Ray's message without the end of the log, which would fill the screen wherever the error is shown."""
    return cluster_message.partition(", last available logs")[0]


def read_outbox(storage: Storage, attempt: Attempt) -> list[ReportedEvent]:
    """Read all events in the outbox of a dead run, including those that were delivered.

    Reading ends at a line that is incomplete or invalid. Returns [] if there is no outbox here, as where runs and this
    server share no folder.
    """
    path = storage.local_path(f"{job_folder(attempt.job_id)}/outbox/attempt-{attempt.number}-run.jsonl")
    events: list[ReportedEvent] = []
    if path is None:
        return events
    try:
        with path.open("rb") as file:
            for line in file.read(_MAX_OUTBOX_BYTES).splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                events.append(ReportedEvent.model_validate_json(line))
    except (OSError, ValidationError):
        return events
    return events
