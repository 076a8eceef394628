"""Summarises the figures of an experiment."""

from collections import Counter
from statistics import median

from tests.chaos.experiment import Outcome
from tests.chaos.faults import Fault
from tests.chaos.verdict import JobRecord

_PROGRESS = ("progress", "epoch_finished", "run_finished")


def lines(outcome: Outcome) -> list[str]:
    """Return the figures as text, one per line."""
    attempts = [attempt for record in outcome.records for attempt in record.job.attempts]
    by_state = Counter(str(record.job.state) for record in outcome.records)
    by_cause = Counter(str(attempt.cause) for attempt in attempts)
    moves = [e.data for record in outcome.records for e in record.events if e.kind == "state_changed"]
    resumed = sum(event.kind == "resumed" for record in outcome.records for event in record.events)
    rows = [
        ("jobs", f"{len(outcome.records)}: {_counts(by_state)}"),
        ("attempts", f"{len(attempts)}: {_counts(by_cause)}"),
        ("retries after a loss", str(sum(m["from_state"] == "lost" and m["to_state"] == "queued" for m in moves))),
        ("resumed from a checkpoint", str(resumed)),
        ("runs that survived a fault of the server", str(len(_adopted(outcome)))),
        ("events", str(sum(len(record.events) for record in outcome.records))),
    ]
    for kind, count in sorted(Counter(fault.kind for fault in outcome.faults).items()):
        took = [s for fault in outcome.faults if fault.kind == kind for s in _recovery_s(fault, outcome)]
        figures = f"median {median(took):.1f} s, at most {max(took):.1f} s" if took else "nothing to recover"
        rows.append((f"{kind} injected", f"{count} times; to the next progress {figures}"))
    rows.append(("wall time", f"{outcome.wall_s:.0f} s"))
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())


def _adopted(outcome: Outcome) -> set[str]:
    """Return the attempts that ended by themselves after a control plane or the database died."""
    survived = {
        attempt_id
        for fault in outcome.faults
        if fault.kind in ("control plane", "database")
        for attempt_id in fault.survived
    }
    not_lost = {a.attempt_id for record in outcome.records for a in record.job.attempts if a.cause != "lost"}
    return survived & not_lost


def _recovery_s(fault: Fault, outcome: Outcome) -> list[float]:
    """Seconds from the fault to the next progress: of each job whose run it killed, else of any job."""
    if not fault.killed:
        moved = next((at for at in outcome.changed_at if at > fault.at), None)
        return [] if moved is None else [moved - fault.at]
    took = []
    for record in outcome.records:
        for attempt in record.job.attempts:
            if attempt.attempt_id in fault.killed:
                took += _next_progress(record, attempt.number, fault.at)[:1]
    return took


def _next_progress(record: JobRecord, attempt: int, at: float) -> list[float]:
    return [
        event.at.timestamp() - at
        for event in record.events
        if event.kind in _PROGRESS and (event.attempt or 0) > attempt
    ]
