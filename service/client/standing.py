"""Where a job stands, folded from its events as they come: what the live view shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fgd_core.spec.events import JobState, StoredEvent
from fgd_core.spec.plans import read_plan
from fgd_core.spec.views import JobSummary
from service.jobs.lifecycle import OVER

_DOING = {
    "starting": "Ray starts the run",
    "run_started": "loading PyTorch",
    "device_ready": "reading the data",
    "data_checked": "reading the data",
    "weights_loaded": "loading weights",
    "teacher_checked": "building the student",
    "distillation_planned": "building the student",
    "resumed": "resuming from a checkpoint",
    "pausing": "saves where it is, then stands still",
    "paused": "stands still and holds nothing; `fgd resume` goes on from there",
    "cancelling": "asked to save and stop",
}

_FIRST_LINES_S = 10.0


@dataclass
class Standing:
    """Lenient on purpose: an event of an unknown kind, or with a field missing, leaves everything as it was."""

    job_id: str
    name: str
    kind: str
    state: JobState
    doing: str = ""
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    images_per_s: float | None = None
    eta_s: float | None = None
    values: dict[str, float] = field(default_factory=dict)
    ap: float | None = None
    best_ap: float | None = None
    mask_ap: float | None = None
    """Of the newest evaluation, where there are masks."""
    attempt: int = 0
    dashboard_url: str | None = None
    error: str | None = None
    project: str = ""
    priority: int = 0
    warnings: list[str] = field(default_factory=list)
    plan: str = ""
    """What is distilled and what is not, once the run has said it."""
    _began_at: datetime | None = None
    """Of the newest attempt."""
    _next_line_s: float = 0.0
    """After its beginning."""

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    @property
    def fraction(self) -> float:
        """Of the training that is done, in [0, 1]."""
        if self.state == "succeeded":
            return 1.0
        return min(1.0, self.step / self.steps) if self.step and self.steps else 0.0

    def is_line_due(self, at: datetime) -> bool:
        """Whether progress deserves a line in a log: the first does, then 10 s, 20 s, 40 s, … after the beginning.

        Between a start and the end of the first epoch a log would else be silent, for minutes or for hours.
        """
        passed_s = (at - self._began_at).total_seconds() if self._began_at is not None else 0.0
        if passed_s < self._next_line_s:
            return False
        self._next_line_s = max(_FIRST_LINES_S, 2 * passed_s)
        return True

    def update(self, event: StoredEvent) -> None:  # noqa: PLR0912 - one branch for each kind of event
        data = event.data
        self.doing = _DOING.get(event.kind, self.doing)
        match event.kind:
            case "state_changed":
                self._move(data)
            case "attempt_started":
                self.attempt = data.get("number", self.attempt)
                self.dashboard_url = data.get("dashboard_url") or self.dashboard_url
                self._began_at, self._next_line_s = event.at, 0.0
            case "cancel_requested":
                self.doing = "asked to stop"
            case "pause_requested" if data.get("for_job"):
                self.doing = f"makes room for {data['for_job']}, and goes on by itself afterwards"
            case "priority_changed":
                self.priority = data.get("to_priority", self.priority)
            case "progress" | "epoch_finished":
                self._train(data)
            case "distillation_planned":
                plan = read_plan(data)
                self.plan = plan.sentence() if plan is not None else ""
            case "evaluation_progress":
                self.doing = f"{data.get('what', 'evaluating')} {data.get('done', '?')}/{data.get('total', '?')}"
            case "evaluated":
                self._score(data.get("scores") or {})
            case "trial_started":
                self.doing = ""
            case "sweep_progressed":
                # A sweep's steps are its trials.
                self.step, self.steps = data.get("done"), data.get("planned")
                self.eta_s, self.best_ap = data.get("eta_s"), data.get("best")
            case "warned":
                self.warnings.append(str(data.get("message", data.get("code", ""))))
            case "run_finished":
                self.doing = ""
                self._fail(data.get("error"))

    def _move(self, data: Mapping[str, Any]) -> None:
        self.state = data.get("to_state", self.state)
        self.doing = _DOING.get(self.state, "" if self.state != "running" else self.doing)
        if data.get("reason") == "preempted" and self.state in ("pausing", "paused"):
            self.doing = str(data.get("message") or "makes room for an urgent job, and goes on by itself afterwards")
        if self.state in ("blocked", "queued", "lost"):
            self.doing = str(data.get("message") or data.get("reason") or "")
        self._fail(data.get("error"))
        if self.state == "failed" and self.error is None:
            self.error = str(data.get("message") or data.get("reason") or "no reason given")

    def _train(self, data: Mapping[str, Any]) -> None:
        self.doing = ""
        for name in ("epoch", "epochs", "step", "steps", "images_per_s", "eta_s"):
            setattr(self, name, data.get(name, getattr(self, name)))
        self.values = data.get("values") or self.values

    def _score(self, scores: Mapping[str, Any]) -> None:
        self.mask_ap = (scores.get("masks") or {}).get("ap", self.mask_ap)
        ap = scores.get("ap")
        if ap is not None:
            self.ap = ap
            self.best_ap = ap if self.best_ap is None else max(ap, self.best_ap)

    def _fail(self, error: Mapping[str, Any] | None) -> None:
        if error:
            self.error = str(error.get("message", error.get("code")))


def standing_of(job: JobSummary) -> Standing:
    """Where a job stands before the first event is read."""
    # Not the progress of its row: the events that follow are replayed from the first, and would run it backwards.
    return Standing(
        job.job_id,
        job.name,
        job.kind,
        "queued" if job.state != "blocked" else "blocked",
        project=job.project,
        priority=job.priority,
    )


def standing_now(job: JobSummary) -> Standing:
    """Where a job stands at this moment, for a reader of what happens from now on."""
    at = job.progress
    return Standing(
        job.job_id,
        job.name,
        job.kind,
        job.state,
        doing=_DOING.get(job.state, "" if job.state in OVER else job.reason or ""),
        epoch=at.epoch,
        epochs=at.epochs,
        step=at.step,
        steps=at.steps,
        images_per_s=at.images_per_s,
        eta_s=at.eta_s,
        values=dict(at.values),
        ap=at.ap,
        best_ap=at.best_ap,
        error=job.reason if job.state == "failed" else None,
        project=job.project,
        priority=job.priority,
    )
