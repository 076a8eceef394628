"""Facts about a job: what a run reports, and what the control plane adds."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter

from fgd_core.spec.base import Fact
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.profiles import SplitProfile
from fgd_core.spec.results import ErrorReport, RunResult, Scores
from fgd_core.spec.trials import (
    BudgetRaised,
    SweepProgressed,
    TrialAsked,
    TrialEnded,
    TrialEvent,
    TrialReported,
    TrialStarted,
    TrialStopAsked,
)

Outcome: TypeAlias = Literal["succeeded", "failed", "stopped"]
"""`stopped`: asked to, by the control plane or a signal; its place is saved. Only the control plane knows for what."""
JobState: TypeAlias = Literal[
    "blocked",
    "queued",
    "starting",
    "running",
    "pausing",
    "paused",
    "cancelling",
    "lost",
    "succeeded",
    "failed",
    "cancelled",
]
OVER: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})
"""The states of a job that has ended."""
EndCause: TypeAlias = Literal["succeeded", "failed", "stopped", "lost"]
"""How an attempt ended; `lost` means that it ended without its final event."""

END_CAUSE: TypeAdapter[EndCause] = TypeAdapter(EndCause)


# -- a run's events ------------------------------------------------------------------------------------------------


class RunStarted(Fact):
    """The process runs and can report. `seconds` says what its start was made of."""

    kind: Literal["run_started"] = "run_started"
    host: str
    pid: int
    python: str
    seconds: dict[str, float] = {}


class DeviceReady(Fact):
    """The libraries are loaded and the device is chosen."""

    kind: Literal["device_ready"] = "device_ready"
    device: str
    threads: int
    precision: str
    versions: dict[str, str]
    seconds: dict[str, float] = {}


class Resumed(Fact):
    kind: Literal["resumed"] = "resumed"
    checkpoint: str
    epoch: int
    step: int
    awaits_evaluation: bool = False
    """Whether that epoch is evaluated now, for the run before ended in the midst of it."""


class Finding(Fact):
    """One kind of trouble in a data set, with what was done about it."""

    problem: str
    """For example `box_without_area`."""
    action: Literal["refused", "dropped", "clipped", "repaired", "kept"]
    count: int
    examples: list[str] = []
    """The first few, by name."""
    meaning: str = ""
    """What the problem is and, where it is not plain, its cure; empty in what older versions recorded."""


class DataChecked(Fact):
    kind: Literal["data_checked"] = "data_checked"
    split: Literal["train", "val"]
    num_images: int
    num_images_without_boxes: int
    num_boxes: int
    num_crowd: int
    boxes_per_category: dict[str, int]
    masks_fingerprint: str | None = None
    """Of the objects' masks; None where they were not read, or there are none."""
    findings: list[Finding] = []
    fingerprint: str = ""
    """SHA-256 over names and sizes of the images, classes and boxes."""


class DataSetChecked(Fact):
    """A whole data set was looked through."""

    kind: Literal["data_set_checked"] = "data_set_checked"
    splits: list[DataChecked]
    """With what training on it would do about each finding."""
    profiles: list[SplitProfile]
    """Of the same splits."""


class WeightsLoaded(Fact):
    """Which keys of a state dict met a parameter or buffer of the same name and shape."""

    kind: Literal["weights_loaded"] = "weights_loaded"
    role: Literal["detector", "student", "teacher", "inherited"]
    source: str
    num_matched: int
    num_total: int
    """Keys that the network wants from this source."""
    missing: list[str] = []
    """Wanted by the network, absent from the source."""
    mismatched: list[str] = []
    """`name: shape in the source vs. shape in the network`."""
    unexpected: list[str] = []
    """In the source, unknown to the network, and so ignored."""
    taken: str = ""
    """Which of the source's sets of weights was taken, such as the averaged one; empty where it has one only."""
    left: list[str] = []
    """What else the source holds and why it was not taken, each in words."""
    classes_found: list[str] = []
    """The network's classes that the source knows by name; their rows were taken. Empty, as the next two, where the
    two lists of classes are the same, or where the source names none."""
    classes_fresh: list[str] = []
    """The network's classes that the source lacks; their rows start afresh."""
    classes_unused: list[str] = []
    """The source's classes that the network lacks."""
    notes: list[str] = []
    """What else was done to the weights, in words."""

    def shortfalls(self) -> list[str]:
        """What did not match, each in words with its number; empty where every key of either side met its like."""
        said = [f"{len(self.missing)} missing from the source ({_first(self.missing)})"] if self.missing else []
        said += (
            [f"{len(self.mismatched)} of another shape or kind ({_first(self.mismatched)})"] if self.mismatched else []
        )
        if self.unexpected:
            keys = "key of the source is" if len(self.unexpected) == 1 else "keys of the source are"
            said.append(
                f"{len(self.unexpected)} {keys} unknown to the detector and not taken ({_first(self.unexpected)})"
            )
        return said

    def account(self) -> str:
        """In one line what was taken, what did not match, what was left and why, and what was done besides."""
        of_what = f", {self.taken}" if self.taken else ""
        said = [f"{self.num_matched} of {self.num_total} keys from {self.source}{of_what}", *self.shortfalls()]
        said += [f"left {text}" for text in self.left]
        return "; ".join([*said, *filter(None, [self.about_classes()]), *self.notes])

    def about_classes(self) -> str:
        """Which classes start afresh and which are left aside, in words; empty where the lists are the same."""
        fresh, unused = self.classes_fresh, self.classes_unused
        said = [f"classes that start afresh: {_first(fresh)}"] if fresh else []
        said += [f"classes that are not needed: {_first(unused)}"] if unused else []
        return "; ".join(said)


def _first(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


class TeacherChecked(Fact):
    kind: Literal["teacher_checked"] = "teacher_checked"
    ap: float | None
    recorded_ap: float | None
    same_data: bool
    """Whether `recorded_ap` was measured on this very validation split, or is what the spec expects of it."""
    classes_judged: list[str] = []
    """The classes of the data that the teacher knows, where it does not know all: `ap` is a mean over these."""


class Progress(Fact):
    """Where training stands, every second or so."""

    kind: Literal["progress"] = "progress"
    epoch: int
    """From 1."""
    epochs: int
    step: int
    """Optimiser steps done since the beginning of the training."""
    steps: int
    images_per_s: float
    eta_s: float | None
    """Seconds until the job's end."""
    learning_rate: float
    values: dict[str, float]
    """Means since the previous progress event: `loss`, `task/…`, `fgd/…`."""
    data_wait: float | None = None
    """Part of the time since the previous progress event, in [0, 1], that went by in waiting for images."""
    gpu_memory_bytes: int | None = None
    """Of this process's tensors, now; None where it trains on no GPU, as the next one."""
    gpu_memory_peak_bytes: int | None = None
    """The most so far."""


class MetricsLogged(Fact):
    """Points of curves, column by column: what is too fine for an event. Only the points are kept."""

    kind: Literal["metrics_logged"] = "metrics_logged"
    steps: list[int]
    values: dict[str, list[float | None]]
    """By name, one value a step; None where there is none."""


class EvaluationProgress(Fact):
    kind: Literal["evaluation_progress"] = "evaluation_progress"
    what: str
    done: int
    total: int


class EpochFinished(Fact):
    kind: Literal["epoch_finished"] = "epoch_finished"
    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_s: float
    eta_s: float | None
    learning_rate: float
    values: dict[str, float]
    """Means over the epoch."""


class Evaluated(Fact):
    kind: Literal["evaluated"] = "evaluated"
    epoch: int | None
    step: int | None
    scores: Scores


class CheckpointSaved(Fact):
    kind: Literal["checkpoint_saved"] = "checkpoint_saved"
    name: Literal["best", "last"]
    uri: str
    sha256: str
    size_bytes: int
    epoch: int
    step: int
    ap: float | None = None


class ArtifactSaved(Fact):
    kind: Literal["artifact_saved"] = "artifact_saved"
    name: str
    uri: str
    media_type: str
    sha256: str
    size_bytes: int


class Warned(Fact):
    kind: Literal["warned"] = "warned"
    code: str
    message: str
    details: dict[str, Any] = {}


class RunFinished(Fact):
    """A run's last word."""

    kind: Literal["run_finished"] = "run_finished"
    outcome: Outcome
    error: ErrorReport | None = None
    result: RunResult | None = None


RunEvent: TypeAlias = Annotated[
    RunStarted
    | DeviceReady
    | Resumed
    | DataChecked
    | DataSetChecked
    | WeightsLoaded
    | TeacherChecked
    | DistillationPlanned
    | Progress
    | MetricsLogged
    | EvaluationProgress
    | EpochFinished
    | Evaluated
    | CheckpointSaved
    | ArtifactSaved
    | Warned
    | TrialStarted
    | TrialReported
    | TrialEnded
    | TrialEvent
    | SweepProgressed
    | RunFinished,
    Field(discriminator="kind"),
]

RUN_EVENT: TypeAdapter[RunEvent] = TypeAdapter(RunEvent)


# -- the control plane's events ------------------------------------------------------------------------------------


class Submitted(Fact):
    kind: Literal["submitted"] = "submitted"
    name: str
    job_kind: str


class StateChanged(Fact):
    kind: Literal["state_changed"] = "state_changed"
    from_state: JobState
    to_state: JobState
    reason: str
    """A stable code, for example `dependencies_met`, `leased`, `run_started`, `run_lost`."""
    message: str = ""
    error: ErrorReport | None = None


class AttemptStarted(Fact):
    kind: Literal["attempt_started"] = "attempt_started"
    number: int
    submission_id: str
    dashboard_url: str | None = None


class CancelRequested(Fact):
    kind: Literal["cancel_requested"] = "cancel_requested"
    by: str = ""
    """Who asked: the name of a token, or `anonymous`."""


class PauseRequested(Fact):
    kind: Literal["pause_requested"] = "pause_requested"
    by: str = ""
    for_job: str | None = None
    """The urgent job that needs the room; the paused one goes on by itself afterwards."""


class ResumeRequested(Fact):
    kind: Literal["resume_requested"] = "resume_requested"
    by: str = ""


class RetryRequested(Fact):
    kind: Literal["retry_requested"] = "retry_requested"
    by: str = ""


class PriorityChanged(Fact):
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


class StoredEvent(Fact):
    """An event as the API gives it out: `sequence` runs from 1 without gaps within its job.

    Of a job that ended long ago, housekeeping puts away the events of the kinds `progress`, `evaluation_progress` and
    `sweep_progressed`, also those that trials said; the others keep their numbers, and the last one always stays.
    """

    job_id: str
    sequence: int
    at: datetime
    attempt: int | None
    """Number of the attempt that reported it; None for the control plane's own."""
    kind: str
    data: dict[str, Any]
    """The event's fields, `kind` among them. Kinds unknown to a reader are to be passed over."""
