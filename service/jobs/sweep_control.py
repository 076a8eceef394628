"""Decides what a user's request does to a sweep in each state."""

from collections.abc import Iterator

from fgd_core.errors import ConflictError
from fgd_core.spec.events import JobState
from fgd_core.spec.search import Budget
from fgd_core.spec.sweep_report import TrialView
from fgd_core.spec.trials import MoreBudget
from fgd_core.spec.views import ProblemReason
from service.jobs.lifecycle import OVER, Reason
from service.jobs.outcome import Step

_ENDING = (*OVER, "cancelling")


def check_takes_trials(state: JobState) -> None:
    """Refuse to add a trial to a sweep that will run no more trials.

    Raises:
        ConflictError: the sweep is over, or being cancelled.
    """
    if state in _ENDING:
        cure = "raise its budget to continue it"
        raise ConflictError(f"the sweep is {state} and runs no more trials; {cure}", state=state)


def check_stoppable(state: JobState, trial: TrialView) -> None:
    """Refuse to stop a trial that does not run.

    Raises:
        ConflictError: the sweep or the trial has ended.
    """
    if state in _ENDING:
        raise ConflictError(f"the sweep is {state}, so trial {trial.trial} does not run any more", state=state)
    # The sweep resumes a lost trial.
    if trial.state in ("completed", "stopped", "failed"):
        raise ConflictError(f"trial {trial.trial} is already {trial.state}", state=trial.state)


def raise_budget(state: JobState, *, waits: bool) -> Step | None:
    """Decide the move; None for a sweep in progress, which reads its new budget itself.

    Args:
        waits: whether a job that the sweep needs has not succeeded yet.
    Raises:
        ConflictError: the sweep is being cancelled, and would end before it read the budget.
    """
    if state == "cancelling":
        raise ConflictError("the sweep is being cancelled; raise its budget once it is over", state=state)
    if state not in OVER and state != "paused":
        return None
    return Step(to="blocked" if waits else "queued", reason=Reason.BUDGET_RAISED)


def useless(more: MoreBudget, budget: Budget) -> Iterator[ProblemReason]:
    """Yield why this raise of the budget would change nothing."""
    asked = more.model_dump()
    if not any(asked.values()):
        message = "nothing is raised; give more trials, epochs, gpu_hours or wall_clock_s"
        yield ProblemReason(loc="", code="nothing_raised", message=message)
    for name, amount in asked.items():
        if amount and getattr(budget, name) is None:
            message = f"the sweep has no limit on {name} that could be raised; leave it out"
            yield ProblemReason(loc=name, code="no_limit", message=message)
