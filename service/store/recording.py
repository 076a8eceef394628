"""What a batch from a run does to the database: all of it in one transaction, and twice the same as once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import SpecError, StaleAttemptError
from fgd_core.spec.attempts import BatchReply, EventBatch, ReportedEvent, Wish
from fgd_core.spec.events import (
    RUN_EVENT,
    ArtifactSaved,
    CheckpointSaved,
    JobState,
    RunEvent,
    RunFinished,
    RunStarted,
)
from fgd_core.spec.views import ProgressView
from service.errors import UnauthorizedError
from service.jobs import progress
from service.jobs.lifecycle import ON_CLUSTER, Reason
from service.jobs.outcome import Step, after_run_finished
from service.store import artifacts, attempts, events, jobs, metrics, tokens
from service.store.json_values import storable
from service.store.tables import Attempt, Job


@dataclass(frozen=True)
class Recorded:
    reply: BatchReply
    run_ended: bool
    """Whether the batch held the run's last word, so that the dispatcher has something to do."""


@dataclass(frozen=True)
class _Heard:
    at: datetime
    data: dict[str, Any]
    """As it is stored."""
    event: RunEvent | None
    """None where this reader cannot make sense of it."""


async def authenticate(session: AsyncSession, attempt_id: str, token: str) -> tuple[Job, Attempt]:
    """The attempt that `token` belongs to, and its job, locked.

    Raises:
        UnauthorizedError: the token is not this attempt's.
    """
    attempt = await attempts.find(session, attempt_id)
    if attempt is None or not tokens.matches(token, attempt.token_sha256):
        raise UnauthorizedError("the token is not the one of this attempt", attempt_id=attempt_id)
    return await jobs.get(session, attempt.job_id, lock=True), attempt


def check_current(job: Job, attempt: Attempt) -> None:
    """Raises StaleAttemptError where the attempt has been replaced or its job is over."""
    if job.current_attempt_id != attempt.id:
        raise StaleAttemptError(
            f"attempt {attempt.id} has been replaced by {job.current_attempt_id}; stop", attempt_id=attempt.id
        )
    if attempt.ended_at is not None or job.state not in ON_CLUSTER:
        raise StaleAttemptError(
            f"attempt {attempt.id} has ended, its job is {job.state}; stop", attempt_id=attempt.id, state=job.state
        )


async def record(session: AsyncSession, attempt_id: str, token: str, batch: EventBatch, *, now: datetime) -> Recorded:
    """Store what is new in a batch and let it take effect; an empty batch is a heartbeat.

    Raises:
        UnauthorizedError: the token is not this attempt's.
        StaleAttemptError: the attempt may not write any more, and the batch holds something new.
        SpecError: a sequence is missing between what was stored and what came.
    """
    job, attempt = await authenticate(session, attempt_id, token)
    last = await attempts.last_heard(session, attempt_id, batch.stream)
    fresh = [event for event in batch.events if event.sequence > last]
    if batch.events and not fresh:
        # A repeat whose answer was lost. It is acknowledged even when the attempt is over, or its run would take the
        # reply to its own last word for a refusal.
        if attempt.ended_at is None:
            await attempts.heartbeat(session, attempt_id, now)
        return Recorded(_reply(job, last), run_ended=False)
    check_current(job, attempt)
    _check_sequences(fresh, last, batch.stream)
    await attempts.heartbeat(session, attempt_id, now)
    if not fresh:
        return Recorded(_reply(job, last), run_ended=False)

    run_ended = await _store(session, job, attempt, batch.stream, fresh, now)
    return Recorded(_reply(job, fresh[-1].sequence), run_ended=run_ended)


async def take_over(
    session: AsyncSession, job: Job, attempt: Attempt, undelivered: Sequence[ReportedEvent], *, now: datetime
) -> bool:
    """Store what a dead run had written down and not delivered; whether its last word was among it.

    Args:
        job: read with its row locked in this transaction; `attempt` is its current one.
        undelivered: from the run's outbox, in order; what was stored before is passed over.
    """
    last = await attempts.last_heard(session, attempt.id, EventBatch().stream)
    fresh = [event for event in undelivered if event.sequence > last]
    if not fresh or [event.sequence for event in fresh] != list(range(last + 1, last + 1 + len(fresh))):
        return False
    return await _store(session, job, attempt, EventBatch().stream, fresh, now)


def _reply(job: Job, acknowledged: int) -> BatchReply:
    return BatchReply(acknowledged=acknowledged, wish=_WISHES.get(job.state, "continue"))


_WISHES: Mapping[JobState, Wish] = {"pausing": "pause", "cancelling": "cancel"}


async def _store(  # noqa: PLR0917 - what every step of it needs
    session: AsyncSession, job: Job, attempt: Attempt, stream: str, fresh: Sequence[ReportedEvent], now: datetime
) -> bool:
    """Store new events and let them take effect; whether the run's last word was among them."""
    await attempts.hear(session, attempt.id, stream, fresh[-1].sequence)
    heard = [_understand(reported, now) for reported in fresh]
    await events.append(session, job.id, attempt.number, [(item.at, item.data) for item in heard])
    await _take_effect(session, job, attempt, [item.event for item in heard if item.event is not None], now)
    finished = next((item.event for item in heard if isinstance(item.event, RunFinished)), None)
    if finished is not None:
        await _finish(session, job, attempt, finished, now=now)
    return finished is not None


def _check_sequences(fresh: Sequence[ReportedEvent], last: int, stream: str) -> None:
    for expected, event in enumerate(fresh, start=last + 1):
        if event.sequence != expected:
            raise SpecError(
                f"stream {stream!r} goes on with sequence {expected}, and {event.sequence} came; send from {expected}",
                stream=stream,
                expected=expected,
                # As text, for it may be beyond what JSON readers take for an integer.
                received=str(event.sequence),
            )


def _understand(reported: ReportedEvent, now: datetime) -> _Heard:
    data: dict[str, Any] = storable(reported.event)
    try:
        at = reported.at.replace(tzinfo=reported.at.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        at = now
    try:
        return _Heard(at, data, RUN_EVENT.validate_python(data))
    except ValidationError:
        return _Heard(at, data, None)


async def _take_effect(
    session: AsyncSession, job: Job, attempt: Attempt, happened: Sequence[RunEvent], now: datetime
) -> None:
    view = ProgressView.model_validate(job.progress)
    points: list[progress.Point] = []
    for event in happened:
        match event:
            case RunStarted():
                await attempts.begin(session, attempt.id, now)
                if job.state == "starting":
                    started = Step(to="running", reason=Reason.RUN_STARTED)
                    await jobs.move(session, job, started, now=now, attempt=attempt.number)
            case ArtifactSaved() | CheckpointSaved():
                await artifacts.record(session, job.id, event, now)
        view = progress.fold(view, event)
        points.extend(progress.points(event))
    await metrics.record(session, job.id, points)
    await session.execute(update(Job).where(Job.id == job.id).values(progress=view.model_dump(mode="json")))


async def _finish(session: AsyncSession, job: Job, attempt: Attempt, finished: RunFinished, *, now: datetime) -> None:
    await attempts.end(session, attempt.id, finished.outcome, finished.error, now)
    if finished.outcome == "succeeded" and finished.result is not None:
        result = finished.result.model_dump(mode="json")
        await session.execute(update(Job).where(Job.id == job.id).values(result=storable(result)))
    steps = after_run_finished(job.state, finished, jobs.budgets(job), resumes_itself=job.resumes_itself)
    for step in steps:
        await jobs.move(session, job, step, now=now, attempt=attempt.number)
