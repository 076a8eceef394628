"""Decides what happens to a job when its attempt has ended."""

from dataclasses import dataclass, replace

from fgd_core.errors import LostRunError
from fgd_core.spec.events import JobState, RunFinished
from fgd_core.spec.results import ErrorReport
from service.jobs.lifecycle import Reason
from service.jobs.retry import Budgets, Fail, Retry, after_failure


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change of a job's state, which the store carries out."""

    to: JobState
    reason: Reason
    message: str = ""
    error: ErrorReport | None = None
    retry: Retry | None = None
    """Set if the move is a retry: when, and from which budget."""


def after_run_finished(state: JobState, finished: RunFinished, budgets: Budgets, *, resumes_itself: bool) -> list[Step]:
    """Decide the moves after a run's final event."""
    error = finished.error
    if finished.outcome == "succeeded":
        return [Step(to="succeeded", reason=Reason.RUN_SUCCEEDED)]
    if state == "cancelling":
        return [Step(to="cancelled", reason=Reason.RUN_CANCELLED, error=error)]
    if finished.outcome == "stopped" and state == "pausing":
        return _paused(Reason.RUN_PAUSED, resumes_itself=resumes_itself)
    if finished.outcome == "stopped":
        # The control plane did not ask for it: the machine was taken away, and the run had time to report that.
        stopped = ErrorReport(
            code=LostRunError.code, message="something other than fgd stopped the run", retryable=True
        )
        return [_retry_or_fail(error or stopped, Reason.RUN_STOPPED, budgets)]
    unnamed = ErrorReport(code="internal", message="the run failed without reporting an error; read its driver log")
    step = _retry_or_fail(error or unnamed, Reason.RETRY, budgets)
    if state == "pausing" and step.retry is not None:
        # A retry may help, but the user asked for a pause.
        paused = replace(step, to="paused")
        return [paused, *_paused(Reason.RUN_PAUSED, resumes_itself=True)[1:]] if resumes_itself else [paused]
    return [step]


def after_loss(state: JobState, error: ErrorReport, budgets: Budgets, *, resumes_itself: bool) -> list[Step]:
    """Decide the moves after a run died without a final event."""
    if state == "cancelling":
        return [Step(to="cancelled", reason=Reason.RUN_CANCELLED)]
    if state == "pausing":
        # It was asked to pause. What it had not saved is computed again after the resume.
        return _paused(Reason.RUN_TOOK_TOO_LONG_TO_STOP, resumes_itself=resumes_itself)
    lost = Step(to="lost", reason=Reason.RUN_LOST, message=error.message, error=error)
    return [lost, _retry_or_fail(error, Reason.RETRY, budgets)]


def _paused(reason: Reason, *, resumes_itself: bool) -> list[Step]:
    paused = Step(to="paused", reason=reason)
    if not resumes_itself:
        return [paused]
    message = "paused for a job of higher priority; continues when there is room"
    return [paused, Step(to="queued", reason=Reason.PREEMPTED, message=message)]


def _retry_or_fail(error: ErrorReport, reason: Reason, budgets: Budgets) -> Step:
    match after_failure(error, budgets):
        case Retry() as retry:
            of = "losses" if retry.is_loss else "failures"
            change = " with half the batch" if retry.halves_batch else ""
            message = (
                f"{error.message}; starts again{change} in {retry.after_s:g} s, {retry.number} of {retry.out_of} {of}"
            )
            return Step(to="queued", reason=reason, message=message, error=error, retry=retry)
        case Fail(reason=final, note=note):
            message = "; ".join(filter(None, (error.message, note)))
            return Step(to="failed", reason=final, message=message, error=error)
