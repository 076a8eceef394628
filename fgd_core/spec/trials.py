"""What a sweep reports of its trials. Together, in order, these events are the study: it is rebuilt from them."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, JsonValue, TypeAdapter

from fgd_core.spec.base import Command, Fact
from fgd_core.spec.results import ErrorReport, RunResult, Scores
from fgd_core.spec.search import MAX_DIMENSIONS

TrialOrigin: TypeAlias = Literal["plain", "published", "searcher", "user", "finalist", "fork"]
"""Why a trial is run. `plain` and `published` are the baselines, `finalist` a repetition with another seed."""
Verdict: TypeAlias = Literal["continue", "stop", "pause"]
"""`stop`: the scheduler gives the trial up. `pause`: it rests at its place, and may go on in another segment."""
TrialEnd: TypeAlias = Literal["completed", "stopped", "paused", "failed", "lost"]


class TrialStarted(Fact):
    """A segment of a trial begins: the first one, or one that goes on where a checkpoint left off."""

    kind: Literal["trial_started"] = "trial_started"
    trial: int
    """From 0."""
    segment: int = 0
    """From 0; a new one after each pause, and where population-based training changes the values."""
    origin: TrialOrigin
    values: dict[str, JsonValue]
    """By field path: what differs from the base."""
    seed: int
    repeats: int | None = None
    """The trial whose values these are, of a `finalist` and of a baseline's repetitions."""
    goes_on_from: tuple[int, int] | None = None
    """(trial, segment) whose checkpoint it begins with; another trial's in population-based training."""
    from_epoch: int = 0
    epochs: int
    """Of a whole training."""
    is_resumed: bool = False
    """Begun before by an earlier attempt of the sweep, or on a worker that was lost."""


class TrialReported(Fact):
    """A trial was evaluated, and what the scheduler made of it."""

    kind: Literal["trial_reported"] = "trial_reported"
    trial: int
    segment: int = 0
    epoch: int
    objectives: list[float | None]
    """In the order of the spec."""
    scores: Scores
    train_s: float
    """In training steps so far, over all segments."""
    verdict: Verdict = "continue"
    rung: int | None = None
    """The scheduler's rung that this epoch is, from 0; None between rungs."""


class TrialEnded(Fact):
    """A segment is over."""

    kind: Literal["trial_ended"] = "trial_ended"
    trial: int
    segment: int = 0
    cause: TrialEnd
    epoch: int
    """Epochs done."""
    by_user: bool = False
    error: ErrorReport | None = None
    result: RunResult | None = None
    """Of a completed trial."""
    checkpoint: str | None = None
    """URI of its best checkpoint."""
    objectives: list[float | None] | None = None
    """Of a completed trial, at its best."""


class TrialEvent(Fact):
    """Something that a trial itself said: one of the events of an ordinary run."""

    kind: Literal["trial_event"] = "trial_event"
    trial: int
    event: dict[str, Any]


class SweepProgressed(Fact):
    """Where the search stands, every few seconds."""

    kind: Literal["sweep_progressed"] = "sweep_progressed"
    running: list[int]
    """Trials."""
    done: int
    """Trials that are over, whatever way."""
    planned: int
    """Trials in all, as far as it can be told."""
    epochs_done: int
    best_trial: int | None
    best: float | None
    """Of the first objective."""
    eta_s: float | None


StudyEvent: TypeAlias = Annotated[TrialStarted | TrialReported | TrialEnded, Field(discriminator="kind")]
STUDY_EVENT: TypeAdapter[StudyEvent] = TypeAdapter(StudyEvent)


# -- what people ask of a sweep that runs --------------------------------------------------------------------------


class NewTrial(Command):
    """POST /v1/jobs/{job_id}/trials: run these values next, whatever the searcher thinks."""

    values: dict[str, JsonValue] = Field(max_length=MAX_DIMENSIONS)
    """By field path; fields that are left out stay as in the base."""


class MoreBudget(Command):
    """POST /v1/jobs/{job_id}/budget: search on with so much more; a sweep that is over is taken up again."""

    trials: int = Field(default=0, ge=0)
    epochs: int = Field(default=0, ge=0)
    gpu_hours: float = Field(default=0, ge=0)
    wall_clock_s: float = Field(default=0, ge=0)


class TrialAsked(Fact):
    kind: Literal["trial_asked"] = "trial_asked"
    number: int
    """Of such requests to this sweep, from 0."""
    values: dict[str, JsonValue]
    by: str = ""


class TrialStopAsked(Fact):
    kind: Literal["trial_stop_asked"] = "trial_stop_asked"
    trial: int
    by: str = ""


class BudgetRaised(Fact):
    kind: Literal["budget_raised"] = "budget_raised"
    trials: int = 0
    epochs: int = 0
    gpu_hours: float = 0
    wall_clock_s: float = 0
    by: str = ""


StudyCommand: TypeAlias = Annotated[TrialAsked | TrialStopAsked | BudgetRaised, Field(discriminator="kind")]
STUDY_COMMAND: TypeAdapter[StudyCommand] = TypeAdapter(StudyCommand)


class StudyEntry(Fact):
    sequence: int
    event: Annotated[
        TrialStarted | TrialReported | TrialEnded | TrialAsked | TrialStopAsked | BudgetRaised,
        Field(discriminator="kind"),
    ]


class StudyLog(Fact):
    """GET /v1/attempts/{attempt_id}/study?after=<sequence>: what a driver goes on from."""

    entries: list[StudyEntry]
    """In order; those behind `after`."""
    earlier: list["EarlierTrial"] = []
    """Of the sweeps that `fork` and `warm_start` name; only where `after` is 0."""
    seconds: float = 0.0
    """That earlier attempts of this sweep ran."""


class EarlierTrial(Fact):
    """A finished trial of another sweep."""

    job_id: str
    trial: int
    counts: bool
    """Of the sweep that was forked: it is one of the new one's trials. Otherwise the searcher only learns from it."""
    values: dict[str, JsonValue]
    seed: int
    reports: list[TrialReported]
    ended: TrialEnded
