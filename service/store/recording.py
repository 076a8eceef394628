"""Stores a batch of events from a run in one transaction. A repeated batch changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import update

from fgd_core.spec.attempts import BatchReply, ControlSignal, EventBatch, ReportedEvent
from fgd_core.spec.event_state import fold_progress
from fgd_core.spec.events import (
    ArtifactSaved,
    CheckpointSaved,
    DataSetChecked,
    EndCause,
    JobState,
    RunEvent,
    RunFinished,
    RunStarted,
)
from fgd_core.spec.views import ProgressView
from service.jobs.lifecycle import Reason
from service.jobs.outcome import Step, after_run_finished
from service.jobs.points import Points, points_of
from service.store import artifacts, attempts, datasets, events, jobs, metrics, points_fast_path, received, runs, tokens
from service.store.received import ReceivedEvent
from service.store.runs import Run
from service.store.session import Database
from service.store.tables import Attempt, Job
from service.store.tables.json_values import storable
from service.store.write_session import WriteSession

# Frequent batches prove that a run is alive; each of them need not write a heartbeat.
_HEARTBEAT_GRAIN = timedelta(seconds=0.5)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Says what was new in a batch."""

    num_events: int = 0
    num_points: int = 0
    oldest_at: datetime | None = None
    """Time of the oldest event, by the run's clock."""
    first_event_after_s: float | None = None
    """Seconds from the attempt's lease to this batch, if the batch reports the start of the run."""
    end: EndCause | None = None
    """How the run ended, if the batch contains its final event."""


@dataclass(frozen=True)
class Recorded:
    """Holds the reply to a batch, and what was stored."""

    reply: BatchReply
    stored: Stored
    way: Literal["usual", "short", "heartbeat"] = "usual"
    """`short`: only points, stored by a single statement; `heartbeat`: an empty batch."""

    @property
    def run_ended(self) -> bool:
        """Whether the batch contained the run's final event, so that the dispatcher must act."""
        return self.stored.end is not None


async def report(database: Database, attempt_id: str, token: str, batch: EventBatch, *, now: datetime) -> Recorded:
    """Run `record` in a transaction, or store the batch by a single statement if that suffices.

    Raises:
        UnauthorizedError, StaleAttemptError, SpecError: as `record`.
    """
    points = None if database.has_one_writer else received.only_points(batch)
    if points:
        first, last = batch.events[0].sequence, batch.events[-1].sequence
        async with database.without_transaction() as connection:
            state = await points_fast_path.store(
                connection,
                attempt_id=attempt_id,
                token_sha256=tokens.digest(token),
                stream=batch.stream,
                first=first,
                last=last,
                points=points,
                now=now,
                heartbeat_grain=_HEARTBEAT_GRAIN,
            )
        if state is not None:
            oldest_at = min(received.time_of(reported, now) for reported in batch.events)
            stored = Stored(num_points=_count(points), oldest_at=oldest_at)
            return Recorded(_reply(state, last), stored, "short")
    return await database.write_together(lambda session: record(session, attempt_id, token, batch, now=now))


async def record(session: WriteSession, attempt_id: str, token: str, batch: EventBatch, *, now: datetime) -> Recorded:
    """Store what is new in a batch and apply its effects; an empty batch is a heartbeat.

    A batch is rejected before anything is written.

    Raises:
        UnauthorizedError: the token belongs to another attempt, or to none.
        StaleAttemptError: the attempt may not write any more, and the batch contains something new.
        SpecError: a sequence is missing between the last stored event and the batch.
    """
    run = await runs.lock(session, attempt_id, token)
    if batch.events and run.may_write and await _advance(session, run, batch):
        # Nearly every batch continues its stream, which one statement finds out.
        await _heartbeat(session, run, now)
        stored = await _store(session, run, batch.events, now=now)
        return Recorded(_reply(run.state, batch.events[-1].sequence), stored)
    last = await attempts.last_received(session, attempt_id, batch.stream)
    fresh = [event for event in batch.events if event.sequence > last]
    if batch.events and not fresh:
        # The reply to this batch was lost. It is acknowledged even if the attempt is over: otherwise the run would take
        # the reply to its own final event for a rejection.
        if run.ended_at is None:
            await _heartbeat(session, run, now)
        return Recorded(_reply(run.state, last), Stored())
    runs.check_may_write(run)
    received.check_sequences(fresh, last, batch.stream)
    await _heartbeat(session, run, now)
    if not fresh:
        return Recorded(_reply(run.state, last), Stored(), "heartbeat")
    await attempts.set_last_received(session, run.attempt_id, batch.stream, fresh[-1].sequence)
    stored = await _store(session, run, fresh, now=now)
    return Recorded(_reply(run.state, fresh[-1].sequence), stored)


async def store_undelivered(
    session: WriteSession, job: Job, attempt: Attempt, undelivered: Sequence[ReportedEvent], *, now: datetime
) -> EndCause | None:
    """Store the events that a dead run wrote to its outbox and did not deliver.

    Args:
        job: read with its row locked in this transaction; `attempt` is its current attempt.
        undelivered: the events of the outbox, in order; those that are already stored are skipped.
    Returns:
        How the run ended, if its final event was among them.
    """
    stream = EventBatch().stream
    last = await attempts.last_received(session, attempt.id, stream)
    fresh = [event for event in undelivered if event.sequence > last]
    if not fresh or [event.sequence for event in fresh] != list(range(last + 1, last + 1 + len(fresh))):
        return None
    await attempts.set_last_received(session, attempt.id, stream, fresh[-1].sequence)
    return (await _store(session, Run.of(job, attempt), fresh, now=now)).end


async def _advance(session: WriteSession, run: Run, batch: EventBatch) -> bool:
    """Advance the stream to the end of the batch, if the batch continues it exactly; returns whether it does."""
    if not received.is_gapless(batch):
        return False
    first, last = batch.events[0].sequence, batch.events[-1].sequence
    return await attempts.advance(session, run.attempt_id, batch.stream, last=first - 1, to=last)


async def _heartbeat(session: WriteSession, run: Run, now: datetime) -> None:
    if run.heartbeat_at is None or now - run.heartbeat_at >= _HEARTBEAT_GRAIN:
        await attempts.heartbeat(session, run.attempt_id, now)


def _reply(state: JobState, acknowledged: int) -> BatchReply:
    return BatchReply(acknowledged=acknowledged, signal=_SIGNALS.get(state, "continue"))


_SIGNALS: Mapping[JobState, ControlSignal] = {"pausing": "pause", "cancelling": "cancel"}


async def _store(session: WriteSession, run: Run, fresh: Sequence[ReportedEvent], *, now: datetime) -> Stored:
    """Store new events and points, and apply their effects."""
    parsed = [received.parse(reported, now) for reported in fresh]
    understood = [item.event for item in parsed if item.event is not None]
    view = before = ProgressView.model_validate(run.progress)
    for event in understood:
        view = fold_progress(view, event)
    changed = {"progress": view.model_dump(mode="json"), "best_ap": view.best_ap} if view != before else None
    rows = [(item.at, item.data) for item in parsed if item.is_stored_as_event]
    await events.append(session, run.job_id, run.number, rows, last=run.last_sequence, columns=changed)
    num_points = await _store_points(session, run.job_id, parsed)
    for event in understood:
        await _apply(session, run, event, now)
    is_start = run.state == "starting" and any(isinstance(event, RunStarted) for event in understood)
    return Stored(
        num_events=len(rows),
        num_points=num_points,
        oldest_at=min(item.at for item in parsed),
        first_event_after_s=(now - run.created_at).total_seconds() if is_start else None,
        end=next((event.outcome for event in understood if isinstance(event, RunFinished)), None),
    )


async def _store_points(session: WriteSession, job_id: str, parsed: Sequence[ReceivedEvent]) -> int:
    """Store the points of all curves; returns their number."""
    by_trial: dict[str, list[RunEvent]] = {}
    for item in parsed:
        if item.curve_event is not None:
            by_trial.setdefault(item.trial, []).append(item.curve_event)
    num_points = 0
    for trial, of_trial in by_trial.items():
        points = points_of(of_trial)
        num_points += _count(points)
        await metrics.record(session, job_id, points, trial=trial)
    return num_points


def _count(points: Points) -> int:
    return sum(len(column.steps) for column in points.values())


async def _apply(session: WriteSession, run: Run, event: RunEvent, now: datetime) -> None:
    match event:
        case RunStarted():
            await attempts.begin(session, run.attempt_id, now)
            job = await jobs.get(session, run.job_id, lock=True)
            if job.state == "starting":
                started = Step(to="running", reason=Reason.RUN_STARTED)
                await jobs.move(session, job, started, now=now, attempt=run.number)
        case ArtifactSaved() | CheckpointSaved():
            await artifacts.record(session, run.job_id, event, now)
        case DataSetChecked():
            await datasets.record(session, run.job_id, event, now)
        case RunFinished():
            await _finish(session, run, event, now)


async def _finish(session: WriteSession, run: Run, finished: RunFinished, now: datetime) -> None:
    job = await jobs.get(session, run.job_id, lock=True)
    await attempts.end(session, run.attempt_id, finished.outcome, finished.error, now)
    if finished.outcome == "succeeded" and finished.result is not None:
        result = finished.result.model_dump(mode="json")
        await session.execute(update(Job).where(Job.id == job.id).values(result=storable(result)))
    attempt = await attempts.find(session, run.attempt_id)
    assert attempt is not None, "it has just reported its end"
    budgets = jobs.budgets(job, attempt)
    steps = after_run_finished(job.state, finished, budgets, resumes_itself=job.resumes_itself)
    for step in steps:
        await jobs.move(session, job, step, now=now, attempt=run.number)
