"""Events about the trials of a sweep. The study is rebuilt from these events, in their order."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, JsonValue, TypeAdapter

from fgd_core.spec.base import Command, Fact
from fgd_core.spec.results import ErrorReport, RunResult, Scores
from fgd_core.spec.search import MAX_DIMENSIONS

TrialOrigin: TypeAlias = Literal["plain", "published", "searcher", "user", "finalist", "fork"]
"""Why a trial runs. `plain` (no distillation) and `published` (default weights) are the baselines; `finalist` is a
repeat of one of the best configurations with another seed; `fork` comes from an earlier sweep."""
Verdict: TypeAlias = Literal["continue", "stop", "pause"]
"""The scheduler's decision. `stop`: the trial ends. `pause`: the trial saves a checkpoint and may continue in another
segment."""
TrialEnd: TypeAlias = Literal["completed", "stopped", "paused", "failed", "lost"]


class TrialStarted(Fact):
    """A segment of a trial starts, from the beginning or from a checkpoint."""

    kind: Literal["trial_started"] = "trial_started"
    trial: int
    """Number of the trial, from 0."""
    segment: int = 0
    """Number of the segment, from 0. A new one starts after each pause, and when population-based training changes the
    values."""
    origin: TrialOrigin
    values: dict[str, JsonValue]
    """By field path: the values that differ from the base."""
    seed: int
    repeats: int | None = None
    """The trial that this trial repeats with another seed; None if it is not a repeat."""
    goes_on_from: tuple[int, int] | None = None
    """(trial, segment) with whose checkpoint it starts; in population-based training it may be another trial's."""
    from_epoch: int = 0
    epochs: int
    """Number of epochs of the whole training."""
    is_resumed: bool = False
    """Whether the segment started before, in an earlier attempt of the sweep or on a worker that was lost."""


class TrialReported(Fact):
    """A trial has been evaluated, and the scheduler has decided."""

    kind: Literal["trial_reported"] = "trial_reported"
    trial: int
    segment: int = 0
    epoch: int
    objectives: list[float | None]
    """Values in the order of the spec's objectives."""
    scores: Scores
    train_s: float
    """Seconds in training steps so far, over all segments."""
    verdict: Verdict = "continue"
    rung: int | None = None
    """Number of the scheduler's rung at this epoch, from 0; None between rungs."""


class TrialEnded(Fact):
    """A segment has ended."""

    kind: Literal["trial_ended"] = "trial_ended"
    trial: int
    segment: int = 0
    cause: TrialEnd
    epoch: int
    """Number of epochs that are done."""
    by_user: bool = False
    error: ErrorReport | None = None
    result: RunResult | None = None
    """Only for a completed trial."""
    checkpoint: str | None = None
    """URI of the trial's best checkpoint."""
    objectives: list[float | None] | None = None
    """Only for a completed trial: the objectives of its best evaluation."""
    machine: str = ""
    """The GPU, or the processor, that it ran on; empty if this is unknown."""


class TrialEvent(Fact):
    """An event that a trial itself reported, as an ordinary run does."""

    kind: Literal["trial_event"] = "trial_event"
    trial: int
    event: dict[str, Any]
    """A `RunEvent`."""


class SweepProgressed(Fact):
    """How far the sweep is; reported every few seconds."""

    kind: Literal["sweep_progressed"] = "sweep_progressed"
    running: list[int]
    """Numbers of the running trials."""
    done: int
    """Number of trials that have ended in any way."""
    planned: int
    """Estimated number of all trials."""
    epochs_done: int
    best_trial: int | None
    best: float | None
    """Best value of the first objective."""
    eta_s: float | None


StudyEvent: TypeAlias = Annotated[TrialStarted | TrialReported | TrialEnded, Field(discriminator="kind")]
STUDY_EVENT: TypeAdapter[StudyEvent] = TypeAdapter(StudyEvent)


# -- requests to a running sweep -----------------------------------------------------------------------------------


class NewTrial(Command):
    """POST /v1/jobs/{job_id}/trials: run a trial with these values next."""

    values: dict[str, JsonValue] = Field(max_length=MAX_DIMENSIONS)
    """By field path; all other fields keep the base's values."""


class MoreBudget(Command):
    """POST /v1/jobs/{job_id}/budget: adds to the budget; a sweep that has ended continues."""

    trials: int = Field(default=0, ge=0)
    epochs: int = Field(default=0, ge=0)
    gpu_hours: float = Field(default=0, ge=0)
    wall_clock_s: float = Field(default=0, ge=0)


class TrialAsked(Fact):
    """A user has asked for a trial with given values."""

    kind: Literal["trial_asked"] = "trial_asked"
    number: int
    """Number of the request among such requests to this sweep, from 0."""
    values: dict[str, JsonValue]
    by: str = ""


class TrialStopAsked(Fact):
    """A user has asked to stop a trial."""

    kind: Literal["trial_stop_asked"] = "trial_stop_asked"
    trial: int
    by: str = ""


class BudgetRaised(Fact):
    """A user has added to the budget."""

    kind: Literal["budget_raised"] = "budget_raised"
    trials: int = 0
    epochs: int = 0
    gpu_hours: float = 0
    wall_clock_s: float = 0
    by: str = ""


StudyCommand: TypeAlias = Annotated[TrialAsked | TrialStopAsked | BudgetRaised, Field(discriminator="kind")]
STUDY_COMMAND: TypeAdapter[StudyCommand] = TypeAdapter(StudyCommand)


class StudyEntry(Fact):
    """An event or a request that the study is rebuilt from."""

    sequence: int
    event: Annotated[
        TrialStarted | TrialReported | TrialEnded | TrialAsked | TrialStopAsked | BudgetRaised,
        Field(discriminator="kind"),
    ]


class StudyLog(Fact):
    """GET /v1/attempts/{attempt_id}/study?after=<sequence>: what a driver needs to continue a sweep."""

    entries: list[StudyEntry]
    """The entries after `after`, in order."""
    earlier: list["EarlierTrial"] = []
    """Trials of the sweeps in `fork` and `warm_start`; only if `after` is 0."""
    seconds: float = 0.0
    """Seconds that earlier attempts of this sweep ran."""


class EarlierTrial(Fact):
    """A finished trial of another sweep."""

    job_id: str
    trial: int
    counts: bool
    """True: it is from the forked sweep and counts as a trial of the new sweep. False: the searcher only learns from
    it."""
    values: dict[str, JsonValue]
    seed: int
    reports: list[TrialReported]
    ended: TrialEnded
