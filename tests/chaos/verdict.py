"""What must be true at the end, whatever was done on the way: pure checks of what the API tells of each job."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fgd_core.spec.events import StoredEvent
from fgd_core.spec.views import AttemptView, JobView, MetricSeries
from service.jobs.lifecycle import MOVES, OVER
from tests.chaos.blows import Blow
from tests.chaos.workload import Errand


@dataclass(frozen=True, kw_only=True)
class Story:
    """All that is known of a job."""

    errand: Errand
    job: JobView
    events: Sequence[StoredEvent]
    curves: Sequence[MetricSeries]


def complaints(story: Story, blows: Sequence[Blow]) -> list[str]:
    """Everything that is wrong with one job; empty where it went as it had to."""
    checks = (_end(story), _numbers(story), _moves(story), _attempts(story), _losses(story, blows), _training(story))
    return [f"{story.job.name} ({story.job.job_id}): {complaint}" for check in checks for complaint in check]


def _end(story: Story) -> Iterator[str]:
    job, errand = story.job, story.errand
    if job.state != errand.end:
        why = job.error.message if job.error else job.reason
        yield f"it should be {errand.end} and is {job.state}: {why}"
    code = job.error.code if job.error else None
    if job.state == "failed" and code != errand.error_code:
        yield f"it failed with code {code}, and not with {errand.error_code}"
    if job.state == "succeeded" and job.result is None:
        yield "it succeeded without a result"


def _numbers(story: Story) -> Iterator[str]:
    numbers = [event.sequence for event in story.events]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"its events are not numbered from 1 without gaps, each once: {numbers}"
    if story.job.last_sequence != len(numbers):
        yield f"its newest event is {story.job.last_sequence}, and {len(numbers)} were told"


def _moves(story: Story) -> Iterator[str]:
    moves = [event.data for event in story.events if event.kind == "state_changed"]
    for before, after in pairwise(moves):
        if before["to_state"] != after["from_state"]:
            yield f"it moved to {before['to_state']}, and next from {after['from_state']}"
    for move in moves:
        if move["to_state"] not in MOVES[move["from_state"]]:
            yield f"it moved from {move['from_state']} to {move['to_state']}, which nothing may"
    ends = [move["to_state"] for move in moves if move["to_state"] in OVER]
    if ends != [story.job.state]:
        yield f"it came to its end {len(ends)} times: {ends}"


def _attempts(story: Story) -> Iterator[str]:
    attempts = sorted(story.job.attempts, key=lambda attempt: attempt.number)
    told = [event.data["number"] for event in story.events if event.kind == "attempt_started"]
    numbers = [attempt.number for attempt in attempts]
    if not numbers == told == list(range(1, len(numbers) + 1)):
        yield f"its attempts are {numbers}, and {told} by its events"
    for attempt in attempts:
        if attempt.cause is None or attempt.ended_at is None:
            yield f"attempt {attempt.number} has no cause of its end"
        elif attempt.released_at is None:
            yield f"attempt {attempt.number} ended ({attempt.cause}) and is still held by the cluster"
    for before, after in pairwise(attempts):
        if before.ended_at is not None and before.ended_at > after.created_at:
            yield f"attempts {before.number} and {after.number} were current at one time"
    if attempts and (last := attempts[-1].cause) not in _LAST_CAUSES[story.errand.end]:
        yield f"its last attempt ended as {last}"
    allowed = {"stopped", "lost"} if story.errand.deed else {"lost"}
    for attempt in attempts[:-1]:
        if attempt.cause not in allowed:
            why = attempt.error.message if attempt.error else "no reason"
            yield f"attempt {attempt.number} ended as {attempt.cause}: {why}"


_LAST_CAUSES = {"succeeded": ("succeeded",), "failed": ("failed",), "cancelled": ("stopped", "lost")}


UNNOTICED_S = 10.0
"""For so long Ray may take a dead node for alive: three health checks, a second apart, and what each may take."""


def _losses(story: Story, blows: Sequence[Blow]) -> Iterator[str]:
    lost = [attempt for attempt in story.job.attempts if attempt.cause == "lost"]
    for attempt in lost:
        if not any(attempt.attempt_id in blow.hit or _may_have_hit(blow, attempt) for blow in blows):
            yield f"attempt {attempt.number} is called lost, and nothing was done to it"
    if story.job.failures:
        yield f"{story.job.failures} losses were counted as failures"
    retried = [event for event in story.events if _is_move(event, "lost")]
    if story.job.losses != len(retried):
        yield f"it was lost {len(retried)} times, and {story.job.losses} were counted"


def _may_have_hit(blow: Blow, attempt: AttemptView) -> bool:
    """A node can take runs with it that had no process yet; and Ray places more there until it misses the node."""
    assert attempt.ended_at is not None
    created_at, never_spoke = attempt.created_at.timestamp(), attempt.started_at is None
    if blow.kind != "node" or blow.at > attempt.ended_at.timestamp():
        return False
    if created_at - 1 > blow.at:
        return never_spoke and created_at - UNNOTICED_S <= blow.at
    return never_spoke or (attempt.started_at is not None and attempt.started_at.timestamp() >= blow.at)


def _training(story: Story) -> Iterator[str]:
    for curve in story.curves:
        steps = [point.step for point in curve.points]
        if any(before >= after for before, after in pairwise(steps)):
            yield f"curve {curve.name} has a step twice, or out of order: {steps}"
    for attempt in story.job.attempts[1:]:
        saved = any(e.kind == "checkpoint_saved" and (e.attempt or 0) < attempt.number for e in story.events)
        ready = any(_has_trained(e) and e.attempt == attempt.number for e in story.events)
        resumed = any(e.kind == "resumed" and e.attempt == attempt.number for e in story.events)
        if saved and ready and not resumed:
            yield f"attempt {attempt.number} began afresh, though a checkpoint was there"
    training = getattr(story.errand.spec, "training", None)
    if story.job.state != "succeeded" or training is None:
        return
    finished = [event for event in story.events if event.kind == "epoch_finished"]
    missing = set(range(1, training.epochs + 1)) - {event.data["epoch"] for event in finished}
    if missing:
        yield f"epochs {sorted(missing)} of {training.epochs} were never told"
    told_at = sorted({event.data["step"] for event in finished})
    for name, expected in (("epoch/loss", told_at), ("loss", list(range(1, max(told_at, default=0) + 1)))):
        steps = [point.step for curve in story.curves if curve.name == name for point in curve.points]
        if steps != expected:
            yield f"curve {name} should have each of {len(expected)} steps once, and has {len(steps)}: {steps}"


def _has_trained(event: StoredEvent) -> bool:
    return event.kind in ("progress", "epoch_finished")


def _is_move(event: StoredEvent, to: str) -> bool:
    return event.kind == "state_changed" and event.data["to_state"] == to
