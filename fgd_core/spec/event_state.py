"""Folds events into the state of a job: its progress, its present activity and its errors.

The server, the command line and the Python client read events here and in `study_state`, and nowhere else. Readers are
lenient: an event of an unknown kind, or one that this version cannot read, changes nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from fgd_core.spec.chains import CONTROL, StageStarted, TeachersOrdered
from fgd_core.spec.control_events import AttemptStarted, ControlEvent, PauseRequested, PriorityChanged, StateChanged
from fgd_core.spec.events import (
    OVER,
    RUN_EVENT,
    EpochFinished,
    Evaluated,
    EvaluationProgress,
    JobState,
    Progress,
    RunEvent,
    RunFinished,
    StoredEvent,
    Warned,
)
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.trials import SweepProgressed, TrialEvent
from fgd_core.spec.views import JobSummary, ProgressView

Event: TypeAlias = Annotated[RunEvent | ControlEvent, Field(discriminator="kind")]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def read_event(stored: StoredEvent) -> Event | None:
    """Return the event with its types; None if its kind is unknown or its fields cannot be read."""
    try:
        return _EVENT.validate_python(stored.data)
    except ValidationError:
        return None


def read_trial_event(event: TrialEvent) -> RunEvent | None:
    """Return the event that a trial reported; None if a newer version wrote it and this one cannot read it."""
    try:
        return RUN_EVENT.validate_python(event.event)
    except ValidationError:
        return None


def fold_progress(view: ProgressView, event: Event) -> ProgressView:
    """Return the progress after `event`; events about other things leave it as it is."""
    match event:
        case Progress() | EpochFinished():
            memory = event.gpu_memory_of_workers if isinstance(event, Progress) else view.gpu_memory_of_workers
            return view.model_copy(
                update={
                    "epoch": event.epoch,
                    "epochs": event.epochs,
                    "step": event.step,
                    "steps": event.steps,
                    "images_per_s": _finite(event.images_per_s),
                    "eta_s": _finite(event.eta_s),
                    "values": {name: value for name, value in event.values.items() if math.isfinite(value)},
                    "gpu_memory_of_workers": memory,
                }
            )
        case StageStarted():
            # A stage that starts again after a loss goes on from its checkpoint, and keeps its best score.
            is_new = not event.is_control and event.label() != view.stage
            scores = {"ap": None, "best_ap": None} if is_new else {}
            return view.model_copy(update={"stage": event.label(), **scores})
        case Evaluated() if view.stage == CONTROL:
            return view
        case Evaluated():
            ap = _finite(event.scores.ap)
            known = [score for score in (ap, view.best_ap) if score is not None]
            return view.model_copy(update={"ap": ap, "best_ap": max(known, default=None)})
        case SweepProgressed():
            # A sweep counts trials where a training counts steps.
            counts = {"step": event.done, "steps": event.planned, "eta_s": _finite(event.eta_s)}
            return view.model_copy(update=counts | {"best_ap": _finite(event.best)})
        case _:
            return view


@dataclass
class JobStatus:
    """Holds what a live view shows of a job, and folds its events in one by one."""

    job_id: str
    name: str
    kind: str
    state: JobState
    doing: str = ""
    """Text: the current activity, or what the job waits for."""
    progress: ProgressView = field(default_factory=ProgressView)
    mask_ap: float | None = None
    """From the newest evaluation; None if the detector has no masks."""
    attempt: int = 0
    attempt_began_at: datetime | None = None
    dashboard_url: str | None = None
    error: str | None = None
    project: str = ""
    priority: int = 0
    warnings: list[str] = field(default_factory=list)
    plan: str = ""
    """What a distillation distils, in words; empty until the run has reported it."""
    prediction: str = ""
    """What the job is predicted to reach; a live view asks the server for it, because no event says it."""

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    @property
    def fraction(self) -> float:
        """Part of the training that is done, in [0, 1]."""
        if self.state == "succeeded":
            return 1.0
        at = self.progress
        return min(1.0, at.step / at.steps) if at.step and at.steps else 0.0

    def update(self, stored: StoredEvent) -> None:
        """Fold in the job's next event."""
        event = read_event(stored)
        if event is None:
            return
        self.progress = fold_progress(self.progress, event)
        self.doing = _DOING.get(event.kind, self.doing)
        match event:
            case StateChanged():
                self._change_state(event)
            case AttemptStarted():
                self.attempt, self.attempt_began_at = event.number, stored.at
                self.dashboard_url = event.dashboard_url or self.dashboard_url
            case PauseRequested(for_job=str(job_id)):
                self.doing = f"pausing to make room for job {job_id}; resumes by itself afterwards"
            case PriorityChanged():
                self.priority = event.to_priority
            case DistillationPlanned():
                stage = f"{self.progress.stage}: " if self.progress.stage is not None else ""
                self.plan = f"{stage}{event.sentence()}"
            case StageStarted():
                self.doing = f"{event.label()}: learning from {event.teacher}"
            case TeachersOrdered():
                self.doing = event.sentence()
            case EvaluationProgress():
                self.doing = f"{event.what} {event.done}/{event.total}"
            case Evaluated(scores=scores):
                self.mask_ap = scores.masks.ap if scores.masks is not None else self.mask_ap
            case Warned():
                self.warnings.append(event.message)
            case RunFinished():
                self._fail(event.error)

    def _change_state(self, event: StateChanged) -> None:
        self.state = event.to_state
        self.doing = _DOING.get(self.state, "" if self.state != "running" else self.doing)
        if event.reason == "preempted" and self.state in ("pausing", "paused"):
            self.doing = event.message or "makes room for a job of higher priority; resumes by itself afterwards"
        if self.state in ("blocked", "queued", "lost"):
            self.doing = event.message or event.reason
        self._fail(event.error)
        if self.state == "failed" and self.error is None:
            self.error = event.message or event.reason

    def _fail(self, error: ErrorReport | None) -> None:
        if error is not None:
            self.error = error.message or error.code


def status_before_events(job: JobSummary) -> JobStatus:
    """Return the status of a job before its first event, for a reader that replays all its events."""
    # Without the progress of its row: replayed events would run it backwards.
    state: JobState = "blocked" if job.state == "blocked" else "queued"
    return JobStatus(job.job_id, job.name, job.kind, state, project=job.project, priority=job.priority)


def status_now(job: JobSummary) -> JobStatus:
    """Return the status of a job at this moment, for a reader of the events from now on."""
    return JobStatus(
        job.job_id,
        job.name,
        job.kind,
        job.state,
        doing=_DOING.get(job.state, "" if job.state in OVER else job.reason or ""),
        progress=job.progress,
        error=job.reason if job.state == "failed" else None,
        project=job.project,
        priority=job.priority,
    )


# By the kind of an event or by the state of a job.
_DOING: Mapping[str, str] = {
    "starting": "Ray starts the run",
    "run_started": "loading PyTorch",
    "workers_started": "joining the workers",
    "device_ready": "reading the data",
    "data_checked": "reading the data",
    "weights_loaded": "loading weights",
    "teacher_checked": "building the student",
    "distillation_planned": "building the student",
    "resumed": "resuming from a checkpoint",
    "pausing": "saving a checkpoint, then pausing",
    "paused": "paused; holds no resources; `fgd resume` continues it",
    "cancelling": "saving a checkpoint, then stopping",
    "cancel_requested": "cancelling",
    "progress": "",
    "epoch_finished": "",
    "trial_started": "",
    "run_finished": "",
}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
