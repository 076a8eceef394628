"""Checks what must be true at the end in any case: pure checks of what the API reports of each job."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fgd_core.spec.events import StoredEvent
from fgd_core.spec.views import AttemptView, JobView, MetricSeries
from service.jobs.lifecycle import MOVES, OVER
from tests.chaos.faults import Fault
from tests.chaos.workload import PlannedJob


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """Holds everything that the API reports of a job."""

    planned: PlannedJob
    job: JobView
    events: Sequence[StoredEvent]
    curves: Sequence[MetricSeries]


def violations(record: JobRecord, faults: Sequence[Fault]) -> list[str]:
    """Return everything that is wrong with one job; empty if nothing is."""
    checks = (
        _end(record),
        _numbers(record),
        _moves(record),
        _attempts(record),
        _losses(record, faults),
        _training(record),
    )
    return [f"{record.job.name} ({record.job.job_id}): {violation}" for check in checks for violation in check]


def _end(record: JobRecord) -> Iterator[str]:
    job, planned = record.job, record.planned
    if job.state != planned.end:
        why = job.error.message if job.error else job.reason
        yield f"it should be {planned.end} and is {job.state}: {why}"
    code = job.error.code if job.error else None
    if job.state == "failed" and code != planned.error_code:
        yield f"it failed with code {code}, and not with {planned.error_code}"
    if job.state == "succeeded" and job.result is None:
        yield "it succeeded without a result"


def _numbers(record: JobRecord) -> Iterator[str]:
    numbers = [event.sequence for event in record.events]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"its events are not numbered from 1 without gaps, each once: {numbers}"
    if record.job.last_sequence != len(numbers):
        yield f"its newest event is {record.job.last_sequence}, and {len(numbers)} are stored"


def _moves(record: JobRecord) -> Iterator[str]:
    moves = [event.data for event in record.events if event.kind == "state_changed"]
    for before, after in pairwise(moves):
        if before["to_state"] != after["from_state"]:
            yield f"it moved to {before['to_state']}, and next from {after['from_state']}"
    for move in moves:
        if move["to_state"] not in MOVES[move["from_state"]]:
            yield f"it moved from {move['from_state']} to {move['to_state']}, which is not a legal move"
    ends = [move["to_state"] for move in moves if move["to_state"] in OVER]
    if ends != [record.job.state]:
        yield f"it ended {len(ends)} times: {ends}"


def _attempts(record: JobRecord) -> Iterator[str]:
    attempts = sorted(record.job.attempts, key=lambda attempt: attempt.number)
    reported = [event.data["number"] for event in record.events if event.kind == "attempt_started"]
    numbers = [attempt.number for attempt in attempts]
    if not numbers == reported == list(range(1, len(numbers) + 1)):
        yield f"its attempts are {numbers}, and {reported} in its events"
    for attempt in attempts:
        if attempt.cause is None or attempt.ended_at is None:
            yield f"attempt {attempt.number} has no cause of its end"
        elif attempt.released_at is None:
            yield f"attempt {attempt.number} ended ({attempt.cause}) and still holds resources of the cluster"
    for before, after in pairwise(attempts):
        if before.ended_at is not None and before.ended_at > after.created_at:
            yield f"attempts {before.number} and {after.number} were current at the same time"
    if attempts and (last := attempts[-1].cause) not in _LAST_CAUSES[record.planned.end]:
        yield f"its last attempt ended as {last}"
    allowed = {"stopped", "lost"} if record.planned.user_action else {"lost"}
    for attempt in attempts[:-1]:
        if attempt.cause not in allowed:
            why = attempt.error.message if attempt.error else "no reason"
            yield f"attempt {attempt.number} ended as {attempt.cause}: {why}"


_LAST_CAUSES = {"succeeded": ("succeeded",), "failed": ("failed",), "cancelled": ("stopped", "lost")}


UNNOTICED_S = 10.0
"""Time in which Ray may not notice that a node is dead: three health checks, a second apart, and their duration."""


def _losses(record: JobRecord, faults: Sequence[Fault]) -> Iterator[str]:
    lost = [attempt for attempt in record.job.attempts if attempt.cause == "lost"]
    for attempt in lost:
        if not any(attempt.attempt_id in fault.killed or _may_explain(fault, attempt) for fault in faults):
            yield f"attempt {attempt.number} is marked lost, but no fault explains it"
    if record.job.failures:
        yield f"{record.job.failures} losses were counted as failures"
    retried = [event for event in record.events if _is_move(event, "lost")]
    if record.job.losses != len(retried):
        yield f"it was lost {len(retried)} times, and {record.job.losses} were counted"


def _may_explain(fault: Fault, attempt: AttemptView) -> bool:
    """Whether a node fault explains the loss: runs without a process die too, and Ray places more runs there."""
    assert attempt.ended_at is not None
    created_at, never_reported = attempt.created_at.timestamp(), attempt.started_at is None
    if fault.kind != "node" or fault.at > attempt.ended_at.timestamp():
        return False
    if created_at - 1 > fault.at:
        return never_reported and created_at - UNNOTICED_S <= fault.at
    return never_reported or (attempt.started_at is not None and attempt.started_at.timestamp() >= fault.at)


def _training(record: JobRecord) -> Iterator[str]:
    for curve in record.curves:
        steps = [point.step for point in curve.points]
        if any(before >= after for before, after in pairwise(steps)):
            yield f"curve {curve.name} has a repeated step, or steps out of order: {steps}"
    for attempt in record.job.attempts[1:]:
        saved = any(e.kind == "checkpoint_saved" and (e.attempt or 0) < attempt.number for e in record.events)
        ready = any(_has_trained(e) and e.attempt == attempt.number for e in record.events)
        resumed = any(e.kind == "resumed" and e.attempt == attempt.number for e in record.events)
        if saved and ready and not resumed:
            yield f"attempt {attempt.number} started from the beginning although a checkpoint exists"
    training = getattr(record.planned.spec, "training", None)
    if record.job.state != "succeeded" or training is None:
        return
    finished = [event for event in record.events if event.kind == "epoch_finished"]
    missing = set(range(1, training.epochs + 1)) - {event.data["epoch"] for event in finished}
    if missing:
        yield f"epochs {sorted(missing)} of {training.epochs} were never reported"
    reported_steps = sorted({event.data["step"] for event in finished})
    for name, expected in (
        ("epoch/loss", reported_steps),
        ("loss", list(range(1, max(reported_steps, default=0) + 1))),
    ):
        steps = [point.step for curve in record.curves if curve.name == name for point in curve.points]
        if steps != expected:
            yield f"curve {name} should have each of {len(expected)} steps once, and has {len(steps)}: {steps}"


def _has_trained(event: StoredEvent) -> bool:
    return event.kind in ("progress", "epoch_finished")


def _is_move(event: StoredEvent, to: str) -> bool:
    return event.kind == "state_changed" and event.data["to_state"] == to
