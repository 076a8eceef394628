"""What a batch from a run does to the database: all of it in one transaction, and twice the same as once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal, Self

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Table, bindparam, select, update

from fgd_core.errors import SpecError, StaleAttemptError
from fgd_core.spec.attempts import BatchReply, ControlSignal, EventBatch, ReportedEvent
from fgd_core.spec.event_state import fold_progress
from fgd_core.spec.events import (
    RUN_EVENT,
    ArtifactSaved,
    CheckpointSaved,
    DataSetChecked,
    EndCause,
    JobState,
    MetricsLogged,
    RunEvent,
    RunFinished,
    RunStarted,
)
from fgd_core.spec.trials import TrialEvent
from fgd_core.spec.views import ProgressView
from service.errors import UnauthorizedError
from service.jobs.lifecycle import ON_CLUSTER, Reason
from service.jobs.outcome import Step, after_run_finished
from service.jobs.points import Points, points_of
from service.store import artifacts, attempts, datasets, events, jobs, metrics, points_fast_path, tokens
from service.store.json_values import storable
from service.store.session import Database
from service.store.statements import core
from service.store.tables import Attempt, Job
from service.store.write_session import WriteSession

# Read without the ORM, which is half of the time that a batch takes.
_JOBS: Table = Job.__table__  # type: ignore[assignment]
_ATTEMPTS: Table = Attempt.__table__  # type: ignore[assignment]
_METRICS = MetricsLogged.model_fields["kind"].default
_OF_TRIAL = TrialEvent.model_fields["kind"].default
_MAX_SEQUENCE = 2**53
_MAX_TRIAL = 10**9
# A run that reports in quick succession is alive without a write for each report.
_HEARTBEAT_GRAIN = timedelta(seconds=0.5)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What was new in a batch."""

    num_events: int = 0
    num_points: int = 0
    oldest_at: datetime | None = None
    """When the first of its events happened, by the run's clock."""
    first_event_after_s: float | None = None
    """Since the attempt was leased, where the run now said that it has begun."""
    end: EndCause | None = None
    """How the run ended, where its last word was among them."""


@dataclass(frozen=True)
class Recorded:
    reply: BatchReply
    stored: Stored
    way: Literal["usual", "short", "heartbeat"] = "usual"
    """`short`: nothing but points, in a single statement; `heartbeat`: nothing at all."""

    @property
    def run_ended(self) -> bool:
        """Whether the batch held the run's last word, so that the dispatcher has something to do."""
        return self.stored.end is not None


@dataclass(frozen=True)
class _Received:
    at: datetime
    data: dict[str, Any]
    """As it is stored."""
    event: RunEvent | None
    """None where this reader cannot make sense of it."""
    trial: str = ""
    """Whose curves it tells of: a trial's number, or nobody's but the job's."""
    told: RunEvent | None = None
    """What it tells curves of: the event itself, or the one that a trial of a sweep wrapped in it."""


@dataclass(frozen=True)
class _Run:
    """What the reports of a run depend on, as it is under the lock on its job's row."""

    COLUMNS: ClassVar[Sequence[ColumnElement[Any]]] = (
        *(_ATTEMPTS.c.id, _ATTEMPTS.c.number, _ATTEMPTS.c.created_at, _ATTEMPTS.c.ended_at, _ATTEMPTS.c.heartbeat_at),
        *(_JOBS.c.id, _JOBS.c.state, _JOBS.c.current_attempt_id, _JOBS.c.last_sequence, _JOBS.c.progress),
    )

    attempt_id: str
    number: int
    created_at: datetime
    ended_at: datetime | None
    heartbeat_at: datetime | None
    job_id: str
    state: JobState
    current_attempt_id: str | None
    last_sequence: int
    progress: dict[str, Any]

    @classmethod
    def of(cls, job: Job, attempt: Attempt) -> Self:
        return cls(
            attempt_id=attempt.id,
            number=attempt.number,
            created_at=attempt.created_at,
            ended_at=attempt.ended_at,
            heartbeat_at=attempt.heartbeat_at,
            job_id=job.id,
            state=job.state,
            current_attempt_id=job.current_attempt_id,
            last_sequence=job.last_sequence,
            progress=job.progress,
        )


_RUN = (
    select(*_Run.COLUMNS)
    .join_from(_ATTEMPTS, _JOBS, _JOBS.c.id == _ATTEMPTS.c.job_id)
    .where(_ATTEMPTS.c.id == bindparam("attempt_id"), _ATTEMPTS.c.token_sha256 == bindparam("token_sha256"))
    .with_for_update(of=_JOBS)
)


async def authenticate(session: WriteSession, attempt_id: str, token: str, *, lock: bool = True) -> tuple[Job, Attempt]:
    """The attempt that `token` belongs to, and its job, locked against other writers unless told otherwise.

    Raises:
        UnauthorizedError: the token is not this attempt's.
    """
    attempt = await attempts.find(session, attempt_id)
    if attempt is None or not tokens.matches(token, attempt.token_sha256):
        raise UnauthorizedError("the token is not the one of this attempt", attempt_id=attempt_id)
    return await jobs.get(session, attempt.job_id, lock=lock), attempt


def check_current(job: Job, attempt: Attempt) -> None:
    """Raises StaleAttemptError where the attempt has been replaced or its job is over."""
    _check_current(_Run.of(job, attempt))


def _check_current(run: _Run) -> None:
    if run.current_attempt_id != run.attempt_id:
        raise StaleAttemptError(
            f"attempt {run.attempt_id} has been replaced by {run.current_attempt_id}; stop", attempt_id=run.attempt_id
        )
    if run.ended_at is not None or run.state not in ON_CLUSTER:
        raise StaleAttemptError(
            f"attempt {run.attempt_id} has ended, its job is {run.state}; stop",
            attempt_id=run.attempt_id,
            state=run.state,
        )


async def report(database: Database, attempt_id: str, token: str, batch: EventBatch, *, now: datetime) -> Recorded:
    """`record` in a transaction of its own, or in a single statement where that is all it takes."""
    points = None if database.has_one_writer else _only_points(batch)
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
            oldest_at = min(_when(reported, now) for reported in batch.events)
            stored = Stored(num_points=_count(points), oldest_at=oldest_at)
            return Recorded(_reply(state, last), stored, "short")
    return await database.write_together(lambda session: record(session, attempt_id, token, batch, now=now))


async def record(session: WriteSession, attempt_id: str, token: str, batch: EventBatch, *, now: datetime) -> Recorded:
    """Store what is new in a batch and let it take effect; an empty batch is a heartbeat.

    What it refuses, it refuses before it has written anything.

    Raises:
        UnauthorizedError: the token is not this attempt's.
        StaleAttemptError: the attempt may not write any more, and the batch holds something new.
        SpecError: a sequence is missing between what was stored and what came.
    """
    run = await _lock(session, attempt_id, token)
    if batch.events and _may_write(run) and await _goes_on(session, run, batch):
        # As nearly always: what comes is what was expected, in one statement.
        await _heartbeat(session, run, now)
        stored = await _store(session, run, batch.events, now=now)
        return Recorded(_reply(run.state, batch.events[-1].sequence), stored)
    last = await attempts.last_received(session, attempt_id, batch.stream)
    fresh = [event for event in batch.events if event.sequence > last]
    if batch.events and not fresh:
        # A repeat whose answer was lost. It is acknowledged even when the attempt is over, or its run would take the
        # reply to its own last word for a refusal.
        if run.ended_at is None:
            await _heartbeat(session, run, now)
        return Recorded(_reply(run.state, last), Stored())
    _check_current(run)
    _check_sequences(fresh, last, batch.stream)
    await _heartbeat(session, run, now)
    if not fresh:
        return Recorded(_reply(run.state, last), Stored(), "heartbeat")
    await attempts.set_last_received(session, run.attempt_id, batch.stream, fresh[-1].sequence)
    stored = await _store(session, run, fresh, now=now)
    return Recorded(_reply(run.state, fresh[-1].sequence), stored)


async def store_undelivered(
    session: WriteSession, job: Job, attempt: Attempt, undelivered: Sequence[ReportedEvent], *, now: datetime
) -> EndCause | None:
    """Store what a dead run had written down and not delivered; how it ended, where its last word was among it.

    Args:
        job: read with its row locked in this transaction; `attempt` is its current one.
        undelivered: from the run's outbox, in order; what was stored before is passed over.
    """
    last = await attempts.last_received(session, attempt.id, EventBatch().stream)
    fresh = [event for event in undelivered if event.sequence > last]
    if not fresh or [event.sequence for event in fresh] != list(range(last + 1, last + 1 + len(fresh))):
        return None
    await attempts.set_last_received(session, attempt.id, EventBatch().stream, fresh[-1].sequence)
    return (await _store(session, _Run.of(job, attempt), fresh, now=now)).end


async def _lock(session: WriteSession, attempt_id: str, token: str) -> _Run:
    """Authenticate, and keep every other writer out of the job until this transaction ends.

    Of the job's row alone, and read from nothing else that changes: what stands beside a row that had to be waited for
    is as it was before the wait.
    """
    found = await (await core(session)).execute(_RUN, {"attempt_id": attempt_id, "token_sha256": tokens.digest(token)})
    row = found.one_or_none()
    if row is None:
        raise UnauthorizedError("the token is not the one of this attempt", attempt_id=attempt_id)
    return _Run(*row)


def _may_write(run: _Run) -> bool:
    return run.current_attempt_id == run.attempt_id and run.ended_at is None and run.state in ON_CLUSTER


async def _goes_on(session: WriteSession, run: _Run, batch: EventBatch) -> bool:
    """Note that the batch was heard, if it goes on exactly where its stream ended so far."""
    if not _is_gapless(batch):
        return False
    first, last = batch.events[0].sequence, batch.events[-1].sequence
    return await attempts.advance(session, run.attempt_id, batch.stream, last=first - 1, to=last)


def _is_gapless(batch: EventBatch) -> bool:
    sequences = [event.sequence for event in batch.events]
    # Counted from the first on: to the last may be as far as a client cares to write.
    return sequences[-1] <= _MAX_SEQUENCE and sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def _only_points(batch: EventBatch) -> Points | None:
    """The points of a batch that holds nothing else; None of any other."""
    if not batch.events or any(reported.event.get("kind") != _METRICS for reported in batch.events):
        return None
    if not _is_gapless(batch):
        return None
    try:
        return points_of(_points(reported.event) for reported in batch.events)
    except ValidationError:
        return None


async def _heartbeat(session: WriteSession, run: _Run, now: datetime) -> None:
    if run.heartbeat_at is None or now - run.heartbeat_at >= _HEARTBEAT_GRAIN:
        await attempts.heartbeat(session, run.attempt_id, now)


def _reply(state: JobState, acknowledged: int) -> BatchReply:
    return BatchReply(acknowledged=acknowledged, signal=_SIGNALS.get(state, "continue"))


_SIGNALS: Mapping[JobState, ControlSignal] = {"pausing": "pause", "cancelling": "cancel"}


async def _store(session: WriteSession, run: _Run, fresh: Sequence[ReportedEvent], *, now: datetime) -> Stored:
    """Store new events and let them take effect."""
    heard = [_understand(reported, now) for reported in fresh]
    happened = [item.event for item in heard if item.event is not None]
    view = before = ProgressView.model_validate(run.progress)
    for event in happened:
        view = fold_progress(view, event)
    changed = {"progress": view.model_dump(mode="json")} if view != before else None
    # Points of curves are no line of a log: they leave no event, and so take no number.
    kept = [(item.at, item.data) for item in heard if not isinstance(item.told, MetricsLogged)]
    await events.append(session, run.job_id, run.number, kept, last=run.last_sequence, columns=changed)
    told: dict[str, list[RunEvent]] = {}
    for item in heard:
        if item.told is not None:
            told.setdefault(item.trial, []).append(item.told)
    num_points = 0
    for trial, of_trial in told.items():
        points = points_of(of_trial)
        num_points += _count(points)
        await metrics.record(session, run.job_id, points, trial=trial)
    for event in happened:
        await _take_effect(session, run, event, now)
    begins = run.state == "starting" and any(isinstance(event, RunStarted) for event in happened)
    return Stored(
        num_events=len(kept),
        num_points=num_points,
        oldest_at=min(item.at for item in heard),
        first_event_after_s=(now - run.created_at).total_seconds() if begins else None,
        end=next((event.outcome for event in happened if isinstance(event, RunFinished)), None),
    )


def _count(points: Points) -> int:
    return sum(len(column.steps) for column in points.values())


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


def _understand(reported: ReportedEvent, now: datetime) -> _Received:
    at = _when(reported, now)
    try:
        if reported.event.get("kind") == _METRICS:
            logged = _points(reported.event)
            return _Received(at, {}, logged, told=logged)
        if reported.event.get("kind") == _OF_TRIAL:
            return _understand_trial(reported.event, at)
        data = storable(reported.event)
        event = RUN_EVENT.validate_python(data)
        return _Received(at, data, event, told=event)
    except ValidationError:
        return _Received(at, storable(reported.event), None)


def _when(reported: ReportedEvent, now: datetime) -> datetime:
    try:
        return reported.at.replace(tzinfo=reported.at.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        return now


def _understand_trial(said: dict[str, Any], at: datetime) -> _Received:
    """Raises ValidationError where it is no `TrialEvent`; one that wraps something unknown is kept as it is."""
    event = TrialEvent.model_validate(said)
    if not 0 <= event.trial <= _MAX_TRIAL:
        return _Received(at, storable(said), event)
    trial = str(event.trial)
    try:
        if event.event.get("kind") == _METRICS:
            return _Received(at, {}, event, trial=trial, told=_points(event.event))
        data = storable(said)
        return _Received(at, data, event, trial=trial, told=RUN_EVENT.validate_python(data["event"]))
    except ValidationError:
        return _Received(at, storable(said), event, trial=trial)


def _points(said: dict[str, Any]) -> MetricsLogged:
    # Not made storable value by value: nothing of it is stored as JSON, and there may be many thousand.
    logged = MetricsLogged.model_validate(said)
    return logged.model_copy(update={"values": {storable(name): values for name, values in logged.values.items()}})


async def _take_effect(session: WriteSession, run: _Run, event: RunEvent, now: datetime) -> None:
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


async def _finish(session: WriteSession, run: _Run, finished: RunFinished, now: datetime) -> None:
    job = await jobs.get(session, run.job_id, lock=True)
    await attempts.end(session, run.attempt_id, finished.outcome, finished.error, now)
    if finished.outcome == "succeeded" and finished.result is not None:
        result = finished.result.model_dump(mode="json")
        await session.execute(update(Job).where(Job.id == job.id).values(result=storable(result)))
    steps = after_run_finished(job.state, finished, jobs.budgets(job), resumes_itself=job.resumes_itself)
    for step in steps:
        await jobs.move(session, job, step, now=now, attempt=run.number)
