"""The report on one job, or on several jobs side by side."""

from datetime import datetime
from typing import Literal

from fgd_core.spec import notebook
from fgd_core.spec.base import Fact
from fgd_core.spec.chains import TeachersOrdered
from fgd_core.spec.costs import JobCost
from fgd_core.spec.diagnosis import Diagnosis
from fgd_core.spec.events import (
    ArtifactSaved,
    DataChecked,
    EpochFinished,
    Evaluated,
    JobState,
    TeacherChecked,
    Warned,
    WeightsLoaded,
)
from fgd_core.spec.exports import ExportedFile
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.prediction import PredictionView
from fgd_core.spec.record import JobRecord
from fgd_core.spec.results import ErrorReport, RunResult
from fgd_core.spec.study_report import StudyReport


class CurvePoint(Fact):
    """A point of a curve."""

    step: int
    value: float


class StageReport(Fact):
    """A stage of a chain, or its control."""

    stage: str
    """`1`, `2`, … in the order of training, or `control`."""
    teacher: str
    """The teacher's checkpoint."""
    teacher_ap: float | None = None
    """None if it was not measured."""
    method: str
    epochs: int
    first_epoch: int
    """Number of epochs of the chain before this stage; 0 for the control."""
    ap_before: float | None = None
    """AP of the student with which the stage starts; None if it was not measured, as for the first stage."""
    result: RunResult | None = None
    """None until the stage is done."""


class JobReport(Fact):
    """The part of a report about one job."""

    job_id: str
    name: str
    kind: Literal["train", "distill", "chain", "evaluate", "export", "check_data", "derive_data", "study"]
    state: JobState
    spec: JobSpec
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int
    ran_s: float | None = None
    """Seconds that ended attempts ran, without waits and pauses; None if no attempt has ended."""
    dashboard_url: str | None
    """The newest attempt on Ray's dashboard."""
    error: ErrorReport | None
    result: RunResult | None
    """Result of the newest finished attempt; None while the job runs or if it failed."""
    epochs: list[EpochFinished]
    evaluations: list[Evaluated]
    curves: dict[str, list[CurvePoint]]
    """By metric name; thinned to a few hundred points at most."""
    data: list[DataChecked]
    weights: list[WeightsLoaded]
    teacher: TeacherChecked | None
    more_teachers: list[TeacherChecked] = []
    plan: DistillationPlanned | None
    """What the run distils and what not; None if nothing is distilled, or if the run has not reported it yet."""
    warnings: list[Warned]
    stages: list[StageReport] = []
    """Of a chain, in the order of training, the control last."""
    order: TeachersOrdered | None = None
    """The order of a chain's teachers; None for other jobs, or if the run has not reported it yet."""
    control_evaluations: list[Evaluated] = []
    """Of a chain's control, with epochs from 1. `epochs`, `evaluations` and `curves` are those of the chain alone; the
    control's curves have names that begin with `control/`."""
    diagnosis: Diagnosis | None = None
    """Where the detector errs; None until the run has evaluated its best checkpoint, and in jobs of older versions."""
    prediction: PredictionView | None = None
    """What the report's first job was predicted to reach; None for the other jobs, and for other kinds than train and
    distill."""
    cost: JobCost | None = None
    """What the report's first job was expected to cost, and what it cost; None for the other jobs, and for other kinds
    than train, distill and study."""
    study: StudyReport | None = None
    """Of a study: its answer; None until all its runs have ended."""
    exports: list[ExportedFile] = []
    """The files of an export, as far as they are written."""
    artifacts: list[ArtifactSaved]
    record: JobRecord = JobRecord(attempts=[], data={}, checkpoints=[])
    """What the figures depend on besides the spec; empty in reports of older versions."""


class Report(Fact):
    """GET /v1/jobs/{job_id}/report: `jobs[0]` is the requested job, the others are for comparison."""

    generated_at: datetime
    jobs: list[JobReport]
    sentences: list[str] = []
    """What the figures mean and what to do about it, in words; empty in reports of older versions."""

    def _repr_html_(self) -> str:
        headings = ("job", "kind", "state", "AP", "AP50", "AP75", "images/s", "parameters")
        return notebook.table(headings, (_cells(job) for job in self.jobs))


def _cells(job: JobReport) -> tuple[object, ...]:
    if job.result is None:
        return job.name, job.kind, job.state, None, None, None, None, None
    scores = [
        notebook.number(score) for score in (job.result.scores.ap, job.result.scores.ap50, job.result.scores.ap75)
    ]
    speed = notebook.number(job.result.images_per_s, ".1f")
    return job.name, job.kind, job.state, *scores, speed, f"{job.result.num_parameters:,}"
