"""What a user may ask of a job, by the state that it is in."""

from fgd_core.errors import ConflictError
from fgd_core.spec.events import JobState
from service.jobs.lifecycle import OVER, WAITING, Reason
from service.jobs.outcome import Step


def cancel(state: JobState) -> Step | None:
    """The move to make; None where it is on its way already.

    Raises:
        ConflictError: the job is over.
    """
    if state in OVER:
        raise ConflictError(f"the job is {state} already", state=state)
    if state == "cancelling":
        return None
    stands_still = state in WAITING or state == "paused"
    return Step(to="cancelled" if stands_still else "cancelling", reason=Reason.CANCEL_REQUESTED)


def pause(state: JobState) -> Step | None:
    """The move to make; None where it pauses or is paused already.

    Raises:
        ConflictError: the job is over, or being cancelled.
    """
    if state in OVER or state == "cancelling":
        raise ConflictError(f"the job is {state} and cannot be paused", state=state)
    if state in ("pausing", "paused"):
        return None
    return Step(to="paused" if state in WAITING else "pausing", reason=Reason.PAUSE_REQUESTED)


def resume(state: JobState, *, waits: bool) -> Step | None:
    """The move to make; None for a job that is still pausing, and goes on by itself once it stands still.

    Args:
        waits: whether a job that it needs is not done.
    Raises:
        ConflictError: the job is not paused.
    """
    if state == "pausing":
        return None
    if state != "paused":
        raise ConflictError(f"the job is {state} and not paused", state=state)
    return Step(to="blocked" if waits else "queued", reason=Reason.RESUME_REQUESTED)


def retry(state: JobState, *, waits: bool) -> Step:
    """The move to make: on from its newest checkpoint, with whole budgets.

    Args:
        waits: whether a job that it needs is not done.
    Raises:
        ConflictError: the job is not failed or cancelled.
    """
    if state not in ("failed", "cancelled"):
        cure = "submit it again to have it done twice" if state == "succeeded" else "it has not ended"
        raise ConflictError(f"the job is {state}; only a failed or cancelled one can be retried: {cure}", state=state)
    return Step(to="blocked" if waits else "queued", reason=Reason.RETRY_REQUESTED)
