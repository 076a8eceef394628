"""The checks of the experiment find each kind of violation, and nothing in a correct job."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from fgd_core.spec.events import StoredEvent
from fgd_core.spec.report import CurvePoint
from fgd_core.spec.results import RunResult, Scores
from fgd_core.spec.views import AttemptView, JobView, MetricSeries, ProgressView
from tests.chaos.faults import Fault
from tests.chaos.verdict import JobRecord, violations
from tests.chaos.workload import PlannedJob, planned_jobs

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
EPOCHS = 2
NO_SCORES = dict.fromkeys(Scores.model_fields.keys() - {"per_class"})
FAULT = Fault(kind="run", at=BEGAN.timestamp() + 5, what="", killed=frozenset({"job-1"}))


def planned() -> PlannedJob:
    found = next(e for e in planned_jobs(6, Random(1), epochs=(EPOCHS, EPOCHS)) if e.spec.name == "train 1")
    assert found.end == "succeeded"
    return found


def moved(from_state: str, to_state: str) -> dict[str, Any]:
    return {"kind": "state_changed", "from_state": from_state, "to_state": to_state, "reason": "x"}


def epoch(number: int) -> dict[str, Any]:
    return {"kind": "epoch_finished", "epoch": number, "step": 4 * number}


def at(second: int) -> datetime:
    return BEGAN + timedelta(seconds=second)


def attempt(number: int, cause: str | None, since: int, until: int) -> AttemptView:
    return AttemptView(
        attempt_id=f"job-{number}",
        number=number,
        submission_id=f"fgd-job-{number}",
        dashboard_url=None,
        created_at=at(since),
        started_at=at(since),
        ended_at=at(until),
        cause=cause,
        error=None,
        released_at=at(until),
        spec_changes={},
    )


def event_list(*facts: tuple[int | None, dict[str, Any]]) -> list[StoredEvent]:
    return [
        StoredEvent(job_id="job", sequence=number, at=at(number), attempt=by, kind=data["kind"], data=data)
        for number, (by, data) in enumerate(facts, start=1)
    ]


GOOD = (
    (None, {"kind": "submitted"}),
    (1, moved("queued", "starting")),
    (1, {"kind": "attempt_started", "number": 1}),
    (1, moved("starting", "running")),
    (1, epoch(1)),
    (1, {"kind": "checkpoint_saved"}),
    (1, moved("running", "lost")),
    (1, moved("lost", "queued")),
    (2, moved("queued", "starting")),
    (2, {"kind": "attempt_started", "number": 2}),
    (2, moved("starting", "running")),
    (2, {"kind": "resumed"}),
    (2, epoch(2)),
    (2, moved("running", "succeeded")),
)


def record(facts: tuple[tuple[int | None, dict[str, Any]], ...] = GOOD, **changes: Any) -> JobRecord:
    """A job whose first run was killed and whose second one succeeded."""
    events = changes.pop("events", None) or event_list(*facts)
    steps = changes.pop("steps", (4, 8))
    fields: dict[str, Any] = {
        "job_id": "job",
        "name": "train 1",
        "kind": "train",
        "project": "default",
        "priority": 0,
        "preemptible": False,
        "submitted_by": "",
        "state": "succeeded",
        "reason_code": None,
        "reason": None,
        "progress": ProgressView(),
        "created_at": BEGAN,
        "started_at": BEGAN,
        "ended_at": at(20),
        "spec": {},
        "waits_for": [],
        "failures": 0,
        "losses": 1,
        "version": 9,
        "attempts": [attempt(1, "lost", 2, 7), attempt(2, "succeeded", 9, 14)],
        "artifacts": [],
        "error": None,
        "result": RunResult(scores=Scores(**NO_SCORES), num_parameters=1, images_per_s=1, num_images=1, device="cpu"),
        "dashboard_url": None,
        "last_sequence": len(events),
    }
    curves = [curve("epoch/loss", steps), curve("loss", changes.pop("all_steps", range(1, 9)))]
    return JobRecord(planned=planned(), job=JobView(**(fields | changes)), events=events, curves=curves)


def curve(name: str, steps: Iterable[int]) -> MetricSeries:
    return MetricSeries(name=name, trial="", points=[CurvePoint(step=step, value=1.0) for step in steps])


def without(*left_out: int) -> tuple[tuple[int | None, dict[str, Any]], ...]:
    return tuple(fact for place, fact in enumerate(GOOD) if place not in left_out)


def test_a_correct_job_has_no_violations() -> None:
    assert violations(record(), [FAULT]) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (record(state="failed"), "should be succeeded"),
        (record(events=[event for event in event_list(*GOOD) if event.sequence != 5]), "without gaps"),
        (record(last_sequence=15), "newest event"),
        (record(without(3)), "next from running"),
        (record((*GOOD[:7], (1, moved("lost", "running")), *GOOD[8:])), "not a legal move"),
        (record((*GOOD, (2, moved("succeeded", "succeeded")))), "2 times"),
        (record(attempts=[attempt(1, "lost", 2, 7), attempt(2, None, 9, 14)]), "no cause"),
        (record(attempts=[attempt(1, "lost", 2, 10), attempt(2, "succeeded", 9, 14)]), "at the same time"),
        (record(attempts=[attempt(1, "failed", 2, 7), attempt(2, "succeeded", 9, 14)]), "ended as failed"),
        (record(without(9)), "attempts are [1, 2]"),
        (record(failures=1), "counted as failures"),
        (record(losses=0), "0 were counted"),
        (record(without(11)), "started from the beginning"),
        (record(without(4)), "epochs [1] of 2"),
        (record(steps=(4, 4, 8)), "a repeated step"),
        (record(steps=(4,)), "curve epoch/loss should have"),
        (record(all_steps=(1, 2, 3, 4, 6, 7, 8)), "curve loss should have"),
    ],
)
def test_each_violation_is_named(wrong: JobRecord, message: str) -> None:
    assert any(message in violation for violation in violations(wrong, [FAULT]))


def test_a_lost_run_without_a_fault_is_a_violation() -> None:
    assert any("no fault explains it" in violation for violation in violations(record(), []))


@pytest.mark.parametrize(
    ("died_s_before", "has_reported", "is_violation"), [(3, False, False), (3, True, True), (30, False, True)]
)
def test_ray_may_place_a_run_on_a_node_that_is_already_dead(
    died_s_before: int, has_reported: bool, is_violation: bool
) -> None:
    placed = attempt(1, "lost", 2, 7).model_copy(update={} if has_reported else {"started_at": None})
    node = Fault(kind="node", at=at(2 - died_s_before).timestamp(), what="")
    found = violations(record(attempts=[placed, attempt(2, "succeeded", 9, 14)]), [node])
    assert any("no fault explains it" in violation for violation in found) == is_violation
