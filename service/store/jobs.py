"""Stores jobs, and changes their states by guarded moves."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from pydantic import ValidationError
from sqlalchemy import and_, insert, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from fgd_core.errors import ConflictError
from fgd_core.spec.base import Fact
from fgd_core.spec.checkpoint_references import CheckpointReference, checkpoint_artifact
from fgd_core.spec.control_events import StateChanged, Submitted
from fgd_core.spec.events import JobState
from fgd_core.spec.jobs import SPEC_VERSION, JobSpec
from fgd_core.spec.paths import with_fields
from fgd_core.spec.resources import Resources, RetryPolicy
from fgd_core.spec.seed_groups import seed_group
from fgd_core.spec.views import ProgressView
from service.jobs.lifecycle import OVER, STOPPING, is_over, sources
from service.jobs.outcome import Step
from service.jobs.retry import Budgets, why_unhalvable
from service.store import datasets, deletion, events, webhooks
from service.store.statements import mark_changed
from service.store.tables import Attempt, Job, JobDependency
from service.store.tables.json_values import JsonObject
from service.store.write_session import WriteSession

Columns: TypeAlias = dict[InstrumentedAttribute[Any], Any]
"""New values of columns of the job's row."""

# Built once: building it together with its values would take as long as executing it.
_INSERT = insert(Job).returning(Job)


async def insert_job(
    session: WriteSession,
    *,
    job_id: str,
    spec: JobSpec,
    spec_sha256: str,
    idempotency_key: str | None,
    submitted_by: str,
    traceparent: str | None = None,
    parent_id: str | None = None,
    needs: Sequence[CheckpointReference],
    waits_for: Sequence[str],
    waits_because: str = "",
    now: datetime,
) -> Job:
    """Store an admitted job and its first event.

    Args:
        traceparent: of the request.
        parent_id: the job that the spec was made from.
        needs: all checkpoints that the spec refers to.
        waits_for: ids of jobs that must end first; if empty, the job is queued at once.
        waits_because: says so in words; default: their ids.
    """
    submitted = [(now, Submitted(name=spec.name, job_kind=spec.kind))]
    row = _columns_of(spec) | {
        "id": job_id,
        "submitted_by": submitted_by,
        "idempotency_key": idempotency_key,
        "spec_sha256": spec_sha256,
        "state": "blocked" if waits_for else "queued",
        "message": (waits_because or f"waits for {', '.join(waits_for)}") if waits_for else "",
        "created_at": now,
        "queued_at": None if waits_for else now,
        "traceparent": traceparent,
        "parent_id": parent_id,
        "progress": ProgressView().model_dump(mode="json"),
        "last_sequence": len(submitted),
    }
    rows = await session.scalars(_INSERT, row)
    job = rows.one()
    for reference in needs:
        await session.execute(
            insert(JobDependency).values(
                job_id=job_id, needs_job_id=reference.job_id, artifact=checkpoint_artifact(reference.name)
            )
        )
    await events.insert_behind(session, job_id, None, submitted, last=0)
    return job


def _columns_of(spec: JobSpec) -> JsonObject:
    """Return the columns of a job's row that come from its spec."""
    content = spec.model_dump(mode="json")
    # The resources of a study are those of its runs, which are jobs of their own; itself it only computes the answer.
    asked = Resources() if spec.kind == "study" else spec.resources
    return {
        "name": spec.name,
        "kind": spec.kind,
        "project": spec.project,
        "priority": spec.priority,
        "preemptible": spec.preemptible,
        "spec": content,
        "spec_version": SPEC_VERSION,
        "seed_group": seed_group(content),
        "cpus": asked.cpus,
        "gpus": asked.gpus,
        "workers": asked.workers,
        "min_workers": asked.least_workers,
        "tasks": spec.concurrent_trials if spec.kind == "sweep" else 1,
    }


async def get(session: WriteSession, job_id: str, *, lock: bool = False) -> Job:
    """Return the job's row, optionally locked against other writers.

    Raises:
        NotFoundError: the job does not exist.
    """
    job = await session.get(Job, job_id, with_for_update=lock, populate_existing=lock)
    if job is None:
        raise events.unknown_job(job_id)
    return job


async def by_idempotency_key(session: WriteSession, project: str, key: str) -> Job | None:
    """Return the job of an earlier request with this key; None if there is none."""
    return await session.scalar(select(Job).where(Job.project == project, Job.idempotency_key == key))


def budgets(job: Job, attempt: Attempt) -> Budgets:
    """Return the retry policy of the job's spec, how many retries it has spent, and what a retry can change.

    Args:
        attempt: the job's newest one.
    """
    unhalvable = ""
    try:
        policy = RetryPolicy.model_validate(job.spec.get("retry", {}))
        if policy.on_out_of_memory == "halve_batch":
            unhalvable = why_unhalvable(with_fields(job.spec, attempt.spec_changes or {}))
    except ValidationError:
        # Another version stored the spec. The job fails at its next start, with that reason.
        policy = RetryPolicy()
    return Budgets(policy=policy, failures=job.failures, losses=job.losses, unhalvable=unhalvable)


async def states(session: WriteSession, job_ids: Iterable[str]) -> dict[str, Job]:
    """Return those of the jobs that exist, by id."""
    wanted = list(job_ids)
    if not wanted:
        return {}
    rows = await session.scalars(select(Job).where(Job.id.in_(wanted)))
    return {job.id: job for job in rows}


async def waits(session: WriteSession, job_id: str) -> bool:
    """Return whether a job that this one needs has not succeeded, or a run of this study has not ended."""
    open_run = and_(JobDependency.arm.is_not(None), Job.state.not_in(OVER))
    query = (
        select(JobDependency.needs_job_id)
        .join(Job, Job.id == JobDependency.needs_job_id)
        .where(
            JobDependency.job_id == job_id, or_(open_run, and_(JobDependency.arm.is_(None), Job.state != "succeeded"))
        )
    )
    return await session.scalar(query.limit(1)) is not None


async def dependencies(session: WriteSession, job_id: str) -> list[JobDependency]:
    """Return the checkpoints that a job needs."""
    query = select(JobDependency).where(JobDependency.job_id == job_id).order_by(JobDependency.needs_job_id)
    return list(await session.scalars(query))


async def move(
    session: WriteSession,
    job: Job,
    step: Step,
    *,
    now: datetime,
    attempt: int | None = None,
    extra: Sequence[Fact] = (),
    columns: Columns | None = None,
) -> None:
    """Change the job's state and store the event of the change.

    Args:
        job: read with its row locked in this transaction.
        attempt: number of the attempt that caused the move.
        extra: events that belong to the move and are stored before it.
        columns: other columns of the row to set.
    Raises:
        ConflictError: no move leads from the job's state to the new one, or the job is being deleted.
    """
    from_state = job.state
    if job.reason == deletion.MARK:
        raise ConflictError(
            f"job {job.id} is being deleted; submit its spec again as a new job", job_id=job.id, state=from_state
        )
    values = _moved(job, step, now) | (columns or {})
    moved = await session.scalar(
        update(Job).where(Job.id == job.id, Job.state.in_(sources(step.to))).values(values).returning(Job.id)
    )
    if moved is None:
        raise ConflictError(
            f"job {job.id} is {from_state} and cannot become {step.to}; reload the job", job_id=job.id, state=from_state
        )
    changed = StateChanged(
        from_state=from_state, to_state=step.to, reason=step.reason.value, message=step.message, error=step.error
    )
    sequence = await events.append(session, job.id, attempt, [(now, event) for event in (*extra, changed)])
    await webhooks.enqueue(session, job, step.to, sequence, now)
    await datasets.conclude(session, job, step.to, step.error)


def _moved(job: Job, step: Step, now: datetime) -> Columns:
    """Return the new values of the job's row for one move."""
    values: Columns = {
        Job.state: step.to,
        Job.reason: step.reason.value,
        Job.message: step.message,
        Job.version: Job.version + 1,
    }
    if step.retry is not None:
        values[Job.not_before] = now + timedelta(seconds=step.retry.after_s)
        spent = Job.losses if step.retry.is_loss else Job.failures
        values[spent] = step.retry.number
    if step.to not in STOPPING:
        values[Job.stop_requested_at] = None
    elif job.stop_requested_at is None:
        values[Job.stop_requested_at] = now
    if step.to == "queued":
        values[Job.queued_at] = now
    if is_over(step.to):
        values[Job.ended_at] = now
        values[Job.error] = step.error.model_dump(mode="json") if step.error is not None else None
    if step.to == "running" and job.started_at is None:
        values[Job.started_at] = now
    return values


async def change(session: WriteSession, job: Job, columns: Columns) -> None:
    """Set columns that a user may change; the state stays."""
    values: Columns = {**columns, Job.version: Job.version + 1}
    await session.execute(update(Job).where(Job.id == job.id).values(values))
    mark_changed(session, job.id)


async def explain(session: WriteSession, job_ids: Sequence[str], state: JobState, message: str) -> None:
    """Set the message that explains why jobs are still in their state. This is not a move, so it stores no event.

    Args:
        state: the state that the message explains; a job that has left it keeps its own message.
    """
    changed = await session.scalars(
        update(Job)
        .where(Job.id.in_(job_ids), Job.state == state, Job.message != message)
        .values(message=message)
        .returning(Job.id)
    )
    for job_id in changed:
        mark_changed(session, job_id)
