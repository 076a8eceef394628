"""The states of a job, the moves between them, and why a job moves."""

from collections.abc import Mapping
from enum import StrEnum

from fgd_core.spec.events import JobState

MOVES: Mapping[JobState, frozenset[JobState]] = {
    "blocked": frozenset({"queued", "failed", "cancelled"}),
    "queued": frozenset({"starting", "failed", "cancelled"}),
    "starting": frozenset({"running", "cancelling", "lost", "queued", "succeeded", "failed"}),
    "running": frozenset({"cancelling", "lost", "queued", "succeeded", "failed"}),
    "cancelling": frozenset({"cancelled", "succeeded"}),
    "lost": frozenset({"queued", "failed"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}

OVER: frozenset[JobState] = frozenset(state for state, moves in MOVES.items() if not moves)

ON_CLUSTER: frozenset[JobState] = frozenset({"starting", "running", "cancelling"})
"""States in which an attempt holds, or is about to hold, a part of the cluster."""


class Reason(StrEnum):
    """Why a job moved: stable codes for programs."""

    DEPENDENCIES_MET = "dependencies_met"
    DEPENDENCY_FAILED = "dependency_failed"
    SPEC_INVALID = "spec_invalid"
    LEASED = "leased"
    RUN_STARTED = "run_started"
    RUN_SUCCEEDED = "run_succeeded"
    RUN_FAILED = "run_failed"
    RUN_LOST = "run_lost"
    RUN_STOPPED = "run_stopped"
    """The run was told to stop, and not by us."""
    RETRY = "retry"
    RETRIES_SPENT = "retries_spent"
    CANCEL_REQUESTED = "cancel_requested"
    RUN_CANCELLED = "run_cancelled"


def sources(to: JobState) -> list[JobState]:
    """The states from which a job may move to `to`."""
    return [state for state, moves in MOVES.items() if to in moves]


def is_over(state: JobState) -> bool:
    return state in OVER
