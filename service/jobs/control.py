"""Decides what a user's request (cancel, pause, resume, retry) does to a job in each state."""

from fgd_core.errors import ConflictError
from fgd_core.spec.events import JobState
from service.jobs.lifecycle import OVER, WAITING, Reason
from service.jobs.outcome import Step


def cancel(state: JobState) -> Step | None:
    """Decide the move; None if the job is being cancelled already.

    Raises:
        ConflictError: the job is over.
    """
    if state in OVER:
        raise ConflictError(f"the job is already {state}", state=state)
    if state == "cancelling":
        return None
    stands_still = state in WAITING or state == "paused"
    return Step(to="cancelled" if stands_still else "cancelling", reason=Reason.CANCEL_REQUESTED)


def pause(state: JobState) -> Step | None:
    """Decide the move; None if the job is pausing or paused already.

    Raises:
        ConflictError: the job is over, or being cancelled.
    """
    if state in OVER or state == "cancelling":
        raise ConflictError(f"the job is {state} and cannot be paused", state=state)
    if state in ("pausing", "paused"):
        return None
    return Step(to="paused" if state in WAITING else "pausing", reason=Reason.PAUSE_REQUESTED)


def resume(state: JobState, *, waits: bool) -> Step | None:
    """Decide the move; None for a job that is still pausing, which continues once it has paused.

    Args:
        waits: whether a job that this one needs has not succeeded yet.
    Raises:
        ConflictError: the job is not paused.
    """
    if state == "pausing":
        return None
    if state != "paused":
        raise ConflictError(f"the job is {state}, not paused", state=state)
    return Step(to="blocked" if waits else "queued", reason=Reason.RESUME_REQUESTED)


def retry(state: JobState, *, waits: bool) -> Step:
    """Decide the move: continue from the newest checkpoint, with full retry budgets.

    Args:
        waits: whether a job that this one needs has not succeeded yet.
    Raises:
        ConflictError: the job is not failed or cancelled.
    """
    if state not in ("failed", "cancelled"):
        cure = "submit it again to run it twice" if state == "succeeded" else "this one has not ended"
        raise ConflictError(f"the job is {state}; only a failed or cancelled job can be retried: {cure}", state=state)
    return Step(to="blocked" if waits else "queued", reason=Reason.RETRY_REQUESTED)
