"""The states of a job, the moves between them, and why a job moves."""

from collections.abc import Mapping
from enum import StrEnum

from fgd_core.spec import events
from fgd_core.spec.events import JobState

MOVES: Mapping[JobState, frozenset[JobState]] = {
    "blocked": frozenset({"queued", "paused", "failed", "cancelled"}),
    "queued": frozenset({"starting", "paused", "failed", "cancelled"}),
    "starting": frozenset({"running", "pausing", "cancelling", "lost", "queued", "succeeded", "failed"}),
    "running": frozenset({"pausing", "cancelling", "lost", "queued", "succeeded", "failed"}),
    "pausing": frozenset({"paused", "cancelling", "lost", "queued", "succeeded", "failed"}),
    "paused": frozenset({"queued", "blocked", "cancelled"}),
    "cancelling": frozenset({"cancelled", "succeeded"}),
    "lost": frozenset({"queued", "paused", "failed"}),
    # Final, unless a user retries the job or extends the sweep.
    "succeeded": frozenset({"queued", "blocked"}),
    "failed": frozenset({"queued", "blocked"}),
    "cancelled": frozenset({"queued", "blocked"}),
}

OVER = events.OVER

WAITING: frozenset[JobState] = frozenset({"blocked", "queued"})

STOPPING: frozenset[JobState] = frozenset({"pausing", "cancelling"})
"""States in which the control plane has asked the run to save and stop."""

ON_CLUSTER: frozenset[JobState] = frozenset({"starting", "running", "pausing", "cancelling"})
"""States in which an attempt holds, or will soon hold, a part of the cluster."""


class Reason(StrEnum):
    """Why a job changed its state: stable codes for programs."""

    DEPENDENCIES_MET = "dependencies_met"
    DEPENDENCY_FAILED = "dependency_failed"
    SPEC_INVALID = "spec_invalid"
    LEASED = "leased"
    RUN_STARTED = "run_started"
    RUN_SUCCEEDED = "run_succeeded"
    RUN_FAILED = "run_failed"
    RUN_LOST = "run_lost"
    RUN_STOPPED = "run_stopped"
    """Something other than the control plane stopped the run."""
    RUN_TOOK_TOO_LONG_TO_STOP = "run_took_too_long_to_stop"
    """The run did not save and stop within its grace period, and the cluster ended it."""
    RETRY = "retry"
    RETRIES_SPENT = "retries_spent"
    CANCEL_REQUESTED = "cancel_requested"
    RUN_CANCELLED = "run_cancelled"
    PAUSE_REQUESTED = "pause_requested"
    PREEMPTED = "preempted"
    """Paused for a job of higher priority."""
    RUN_PAUSED = "run_paused"
    RESUME_REQUESTED = "resume_requested"
    RETRY_REQUESTED = "retry_requested"
    BUDGET_RAISED = "budget_raised"
    """A sweep that was over or paused continues with a larger budget."""


def sources(to: JobState) -> list[JobState]:
    """List the states from which a job may move to `to`."""
    return [state for state, moves in MOVES.items() if to in moves]


def is_over(state: JobState) -> bool:
    """Whether the job has ended."""
    return state in OVER
