"""What a user may ask of a sweep, by the state that it is in."""

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
    """Raises ConflictError where nothing of the sweep will run any more."""
    if state in _ENDING:
        cure = "raise its budget, and it goes on"
        raise ConflictError(f"the sweep is {state} and runs no more trials; {cure}", state=state)


def check_stoppable(state: JobState, trial: TrialView) -> None:
    """Raises ConflictError where there is nothing left to stop."""
    if state in _ENDING:
        raise ConflictError(f"the sweep is {state}, so trial {trial.trial} runs no more", state=state)
    # A lost one is taken up again by the sweep.
    if trial.state in ("completed", "stopped", "failed"):
        raise ConflictError(f"trial {trial.trial} is {trial.state} already", state=trial.state)


def raise_budget(state: JobState, *, waits: bool) -> Step | None:
    """The move to make; None for a sweep that is under way, and reads of its new budget by itself.

    Args:
        waits: whether a job that it needs is not done.
    Raises:
        ConflictError: it is being cancelled, and would be over before it had read of it.
    """
    if state == "cancelling":
        raise ConflictError("the sweep is being cancelled; raise its budget once it is over", state=state)
    if state not in OVER and state != "paused":
        return None
    return Step(to="blocked" if waits else "queued", reason=Reason.BUDGET_RAISED)


def useless(more: MoreBudget, budget: Budget) -> Iterator[ProblemReason]:
    """Why raising the budget so much would change nothing."""
    asked = more.model_dump()
    if not any(asked.values()):
        message = "nothing is raised; say how many trials, epochs, gpu_hours or wall_clock_s more"
        yield ProblemReason(loc="", code="nothing_raised", message=message)
    for name, amount in asked.items():
        if amount and getattr(budget, name) is None:
            message = f"the sweep has no limit of {name}, so there is none to raise; leave it out"
            yield ProblemReason(loc=name, code="no_limit", message=message)
