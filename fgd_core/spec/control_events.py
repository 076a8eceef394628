"""Events that the control plane adds to those of a job's runs."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Fact
from fgd_core.spec.events import JobState
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.trials import BudgetRaised, TrialAsked, TrialStopAsked


class Submitted(Fact):
    """A user has submitted the job."""

    kind: Literal["submitted"] = "submitted"
    name: str
    job_kind: str


class StateChanged(Fact):
    """The job has moved to another state."""

    kind: Literal["state_changed"] = "state_changed"
    from_state: JobState
    to_state: JobState
    reason: str
    """A stable code, for example `dependencies_met`, `leased`, `run_started`, `run_lost`."""
    message: str = ""
    error: ErrorReport | None = None


class AttemptStarted(Fact):
    """The control plane has started an attempt on the cluster."""

    kind: Literal["attempt_started"] = "attempt_started"
    number: int
    submission_id: str
    dashboard_url: str | None = None


class CancelRequested(Fact):
    """A user has asked to cancel the job."""

    kind: Literal["cancel_requested"] = "cancel_requested"
    by: str = ""
    """Name of the token that made the request, or `anonymous`."""


class PauseRequested(Fact):
    """A user, or the scheduler for another job, has asked to pause the job."""

    kind: Literal["pause_requested"] = "pause_requested"
    by: str = ""
    for_job: str | None = None
    """Id of the job of higher priority that needs the resources; the paused job resumes by itself afterwards."""


class ResumeRequested(Fact):
    """A user has asked to resume the paused job."""

    kind: Literal["resume_requested"] = "resume_requested"
    by: str = ""


class RetryRequested(Fact):
    """A user has asked to start the ended job again."""

    kind: Literal["retry_requested"] = "retry_requested"
    by: str = ""


class PriorityChanged(Fact):
    """A user has changed the job's priority."""

    kind: Literal["priority_changed"] = "priority_changed"
    from_priority: int
    to_priority: int
    by: str = ""


ControlEvent: TypeAlias = Annotated[
    Submitted
    | StateChanged
    | AttemptStarted
    | CancelRequested
    | PauseRequested
    | ResumeRequested
    | RetryRequested
    | PriorityChanged
    | TrialAsked
    | TrialStopAsked
    | BudgetRaised,
    Field(discriminator="kind"),
]
