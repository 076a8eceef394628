"""What becomes of a job when its attempt has ended."""

from dataclasses import dataclass

from fgd_core.errors import LostRunError
from fgd_core.spec.events import ErrorReport, JobState, RunFinished
from service.jobs.lifecycle import Reason
from service.jobs.retry import Fail, Retry, after_failure


@dataclass(frozen=True, kw_only=True)
class Step:
    """One move of a job, to be carried out by the store."""

    to: JobState
    reason: Reason
    message: str = ""
    error: ErrorReport | None = None
    retry_after_s: float | None = None
    """Set where the move is a retry: not before so many seconds from now."""


def after_run_finished(state: JobState, finished: RunFinished, *, retries: int, max_retries: int) -> list[Step]:
    """The moves that follow from a run's last word."""
    error = finished.error
    if finished.outcome == "succeeded":
        return [Step(to="succeeded", reason=Reason.RUN_SUCCEEDED)]
    if state == "cancelling":
        return [Step(to="cancelled", reason=Reason.RUN_CANCELLED, error=error)]
    if finished.outcome == "cancelled":
        # Nobody here asked for it: the machine was taken away, and the run had time to say so.
        stopped = ErrorReport(
            code=LostRunError.code, message="the run was stopped from outside, not by a cancel request", retryable=True
        )
        return _retry_or_fail(error or stopped, Reason.RUN_STOPPED, retries=retries, max_retries=max_retries)
    unnamed = ErrorReport(code="internal", message="the run failed without naming an error; read its driver log")
    return _retry_or_fail(error or unnamed, Reason.RETRY, retries=retries, max_retries=max_retries)


def after_loss(state: JobState, error: ErrorReport, *, retries: int, max_retries: int) -> list[Step]:
    """The moves that follow when a run died without a last word."""
    if state == "cancelling":
        return [Step(to="cancelled", reason=Reason.RUN_CANCELLED)]
    lost = Step(to="lost", reason=Reason.RUN_LOST, message=error.message, error=error)
    return [lost, *_retry_or_fail(error, Reason.RETRY, retries=retries, max_retries=max_retries)]


def _retry_or_fail(error: ErrorReport, retry_reason: Reason, *, retries: int, max_retries: int) -> list[Step]:
    match after_failure(error, retries=retries, max_retries=max_retries):
        case Retry(after_s=after_s):
            message = f"{error.message}; retry {retries + 1} of {max_retries}, {after_s:g} s later"
            return [Step(to="queued", reason=retry_reason, message=message, error=error, retry_after_s=after_s)]
        case Fail(reason=reason):
            return [Step(to="failed", reason=reason, message=error.message, error=error)]
