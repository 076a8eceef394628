"""Events: facts about a job. A run reports these; the control plane adds those of `control_events`."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter

from fgd_core.spec.base import Fact
from fgd_core.spec.chains import StageFinished, StageStarted, TeachersOrdered
from fgd_core.spec.diagnosis import Diagnosis
from fgd_core.spec.exports import ExportedFile
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.profiles import SplitProfile
from fgd_core.spec.provenance import ProvenanceRecorded
from fgd_core.spec.results import EndReason, ErrorReport, RunResult, Scores
from fgd_core.spec.study_report import StudyReported
from fgd_core.spec.trials import SweepProgressed, TrialEnded, TrialEvent, TrialReported, TrialStarted

Outcome: TypeAlias = Literal["succeeded", "failed", "stopped"]
"""How a run ended. `stopped`: the control plane or a signal asked for it, and the run saved a checkpoint. Only the
control plane knows whether the job then pauses or is cancelled."""
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


class RunStarted(Fact):
    """The process runs and can report. `seconds` holds the duration of each part of its start."""

    kind: Literal["run_started"] = "run_started"
    host: str
    pid: int
    python: str
    seconds: dict[str, float] = {}


class DeviceReady(Fact):
    """The run has loaded its libraries and chosen its device."""

    kind: Literal["device_ready"] = "device_ready"
    device: str
    """The name of the GPU, or the architecture of the CPU."""
    processor: str = ""
    """The name of the CPU that it computes on; empty with a GPU, and in events of older versions."""
    threads: int
    precision: str
    versions: dict[str, str]
    seconds: dict[str, float] = {}

    @property
    def machine(self) -> str:
        """What decides how fast the run is: its GPU, or its processor."""
        return self.processor or self.device


class TrainingWorker(Fact):
    """One of the processes that train a job together."""

    rank: int
    """0 for the worker that reports events and saves files."""
    host: str
    pid: int
    device: str
    """The name of its GPU, or the architecture of the CPU."""


class WorkersStarted(Fact):
    """The workers of a job that trains in several processes run; they load their libraries next."""

    kind: Literal["workers_started"] = "workers_started"
    workers: list[TrainingWorker]
    """By rank."""


class Resumed(Fact):
    """The run continues from a checkpoint."""

    kind: Literal["resumed"] = "resumed"
    checkpoint: str
    epoch: int
    step: int
    awaits_evaluation: bool = False
    """Whether this run evaluates that epoch now, because the previous run ended before its evaluation was done."""


class Finding(Fact):
    """One kind of problem in a data set, and what was done about it."""

    problem: str
    """For example `box_without_area`."""
    action: Literal["refused", "dropped", "clipped", "repaired", "kept"]
    count: int
    examples: list[str] = []
    """Names of the first few examples."""
    meaning: str = ""
    """What the problem is and how to fix it; empty in events of older versions."""


class DataChecked(Fact):
    """The run has read one split of its data."""

    kind: Literal["data_checked"] = "data_checked"
    split: Literal["train", "val"]
    num_images: int
    num_images_without_boxes: int
    num_boxes: int
    num_crowd: int
    boxes_per_category: dict[str, int]
    masks_fingerprint: str | None = None
    """Digest of the objects' masks; None if there are none or they were not read."""
    keypoints_fingerprint: str | None = None
    """Digest of the objects' keypoints; None if there are none or they were not read."""
    findings: list[Finding] = []
    fingerprint: str = ""
    """SHA-256 over the names and sizes of the images, the classes and the boxes."""


class PoolChecked(Fact):
    """The run has read its pool of images without labels."""

    kind: Literal["pool_checked"] = "pool_checked"
    num_images: int
    """Without the images that are left out."""
    findings: list[Finding] = []
    fingerprint: str = ""
    """SHA-256 over the names and sizes of the images, and the classes."""


class PoolLabelled(Fact):
    """The run has found the scores above which the teacher's boxes stand for labels."""

    kind: Literal["pool_labelled"] = "pool_labelled"
    min_scores: dict[str, float]
    """By class."""
    boxes_per_image: dict[str, float]
    """By class: boxes above that score on the images that were looked at, per image."""
    labelled_boxes_per_image: dict[str, float]
    """By class: boxes per image of the training split."""
    num_images: int
    """Number of images of the pool that were looked at."""


class DataSetChecked(Fact):
    """A check has read a whole data set."""

    kind: Literal["data_set_checked"] = "data_set_checked"
    splits: list[DataChecked]
    """Both splits; each finding says what a training on this data would do about it."""
    profiles: list[SplitProfile]
    """Statistics of the same splits."""
    pictures: dict[str, str] = {}
    """Fingerprints of the other pictures, by `<picture>.<split>`."""
    pool: PoolChecked | None = None
    """The pool of images without labels; None if the data has none."""


class WeightsLoaded(Fact):
    """The run has loaded weights: which keys of the source match a parameter or buffer by name and shape."""

    kind: Literal["weights_loaded"] = "weights_loaded"
    role: Literal["detector", "student", "teacher", "inherited"]
    source: str
    num_matched: int
    num_total: int
    """Number of keys that the network needs from this source."""
    missing: list[str] = []
    """Keys that the network needs and the source lacks."""
    mismatched: list[str] = []
    """Keys of another shape, each as `name: shape in the source vs. shape in the network`."""
    unexpected: list[str] = []
    """Keys of the source that the network lacks; they are ignored."""
    taken: str = ""
    """Which set of weights of the source was used, for example the averaged weights; empty if it has only one set."""
    left: list[str] = []
    """What else the source holds, and why it was not used; each in words."""
    classes_found: list[str] = []
    """Classes of the network that the source has by name; their rows were loaded. This field and the next two are empty
    if both have the same list of classes, or if the source names no classes."""
    classes_fresh: list[str] = []
    """Classes of the network that the source lacks; their rows get initial weights."""
    classes_unused: list[str] = []
    """Classes of the source that the network lacks."""
    notes: list[str] = []
    """What else was changed in the weights, in words."""

    def shortfalls(self) -> list[str]:
        """Return what did not match, each kind in words with its number; empty if all keys of both sides match."""
        parts = [f"{len(self.missing)} missing from the source ({_first(self.missing)})"] if self.missing else []
        parts += (
            [f"{len(self.mismatched)} of another shape or kind ({_first(self.mismatched)})"] if self.mismatched else []
        )
        if self.unexpected:
            keys = "key of the source is" if len(self.unexpected) == 1 else "keys of the source are"
            parts.append(
                f"{len(self.unexpected)} {keys} unknown to the detector and not taken ({_first(self.unexpected)})"
            )
        return parts

    def account(self) -> str:
        """Return one line: what was loaded, what did not match, what was left out and why, and what else was
        changed."""
        of_what = f", {self.taken}" if self.taken else ""
        parts = [f"{self.num_matched} of {self.num_total} keys from {self.source}{of_what}", *self.shortfalls()]
        parts += [f"left {text}" for text in self.left]
        return "; ".join([*parts, *filter(None, [self.about_classes()]), *self.notes])

    def about_classes(self) -> str:
        """Return which classes get initial weights and which are not needed; empty if both lists are the same."""
        fresh, unused = self.classes_fresh, self.classes_unused
        parts = [f"classes with initial weights: {_first(fresh)}"] if fresh else []
        parts += [f"classes that are not needed: {_first(unused)}"] if unused else []
        return "; ".join(parts)


def _first(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


class ApSample(Fact):
    """How an AP was estimated from a sample of a split's images."""

    num_images: int
    low: float
    """The lower end of the 95 % interval of the AP on the whole split."""
    high: float
    """The upper end."""


class TeacherChecked(Fact):
    """The teacher has been scored before the first step."""

    kind: Literal["teacher_checked"] = "teacher_checked"
    ap: float | None
    sample: ApSample | None = None
    """The sample that `ap` was measured on; None if it was the whole split."""
    recorded_ap: float | None
    same_data: bool
    """True if `recorded_ap` was measured on the same validation split, or is the AP that the spec expects on it."""
    classes_judged: list[str] = []
    """The classes of the data that the teacher knows, if it does not know all; `ap` is the mean over these classes."""
    number: int = 1
    """1 for `teacher`, then the teachers of `more_teachers`."""


class GpuMemory(Fact):
    """GPU memory that the tensors of a process take."""

    allocated_bytes: int
    """Now."""
    peak_bytes: int
    """The largest amount so far."""


class Progress(Fact):
    """How far the training is; reported about once a second."""

    kind: Literal["progress"] = "progress"
    epoch: int
    """The epoch that is being trained, from 1."""
    epochs: int
    step: int
    """Optimiser steps since the beginning of the training."""
    steps: int
    images_per_s: float
    eta_s: float | None
    """Estimated seconds until the job ends."""
    learning_rate: float
    values: dict[str, float]
    """Means since the previous progress event: `loss`, `task/…`, `distill/…`. Curves show the values of each step
    instead; see `MetricsLogged`."""
    skipped_steps: int = 0
    """Steps so far that changed no weights, because their loss or gradient was not finite."""
    data_wait: float | None = None
    """Fraction of the time since the previous progress event that the run waited for images, in [0, 1]."""
    gpu_memory_bytes: int | None = None
    """GPU memory that the tensors of the first worker take now; None without a GPU."""
    gpu_memory_peak_bytes: int | None = None
    """The largest such amount so far; None without a GPU."""
    gpu_memory_of_workers: list[GpuMemory] = []
    """Of each worker, by rank, at most some seconds old; empty without GPUs, and until each worker has made a step."""


class MetricsLogged(Fact):
    """Points of curves: the values of each step, in columns. The server stores the points and no event."""

    kind: Literal["metrics_logged"] = "metrics_logged"
    steps: list[int]
    values: dict[str, list[float | None]]
    """By curve name, one value for each step; None where the step has no value."""


class EvaluationProgress(Fact):
    """How far an evaluation is."""

    kind: Literal["evaluation_progress"] = "evaluation_progress"
    what: str
    done: int
    total: int


class EpochFinished(Fact):
    """An epoch of training is done; its evaluation may follow."""

    kind: Literal["epoch_finished"] = "epoch_finished"
    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_s: float
    eta_s: float | None
    learning_rate: float
    values: dict[str, float]
    """Means over the epoch, by name as in `Progress`."""


class Evaluated(Fact):
    """The detector has been scored on the validation split; `epoch` and `step` are None in an evaluation job."""

    kind: Literal["evaluated"] = "evaluated"
    epoch: int | None
    step: int | None
    scores: Scores


class MeanEvaluated(Fact):
    """The mean of the weights of the last evaluated epochs has been scored after the training."""

    kind: Literal["mean_evaluated"] = "mean_evaluated"
    num_epochs: int
    """Number of epochs whose weights were averaged."""
    scores: Scores
    is_best: bool
    """Whether it is the best checkpoint now."""


class EndedEarly(Fact):
    """The training ends before its last epoch, as its spec allows."""

    kind: Literal["ended_early"] = "ended_early"
    epoch: int
    step: int
    reason: EndReason


class Diagnosed(Fact):
    """The run has sorted the errors of its best detector on the validation split."""

    kind: Literal["diagnosed"] = "diagnosed"
    diagnosis: Diagnosis


class CheckpointSaved(Fact):
    """A checkpoint is complete on disk; `ap` is its score, if it has one."""

    kind: Literal["checkpoint_saved"] = "checkpoint_saved"
    name: Literal["best", "last"]
    uri: str
    sha256: str
    size_bytes: int
    epoch: int
    step: int
    ap: float | None = None


class ArtifactSaved(Fact):
    """A file of the job is complete on disk."""

    kind: Literal["artifact_saved"] = "artifact_saved"
    name: str
    uri: str
    media_type: str
    sha256: str
    size_bytes: int


class Exported(Fact):
    """A detector is exported to a file, and its detections are compared with those of PyTorch."""

    kind: Literal["exported"] = "exported"
    file: ExportedFile


class ScaleChosen(Fact):
    """The run has found the scale of its distillation; see `method.scale`."""

    kind: Literal["scale_chosen"] = "scale_chosen"
    scale: float
    """A further factor on all weights, from here on."""
    ratio: float
    """Distillation over task loss without this factor: the geometric mean of the first steps."""
    target: float
    """Distillation over task loss with it."""
    steps: int
    """Number of steps until the choice."""
    teacher: int = 1
    """1 for `teacher`, then the teachers of `more_teachers`."""
    epoch: int | None = None
    step: int | None = None


class Warned(Fact):
    """Something that a user should know, and that does not stop the run."""

    kind: Literal["warned"] = "warned"
    code: str
    message: str
    details: dict[str, Any] = {}


class RunFinished(Fact):
    """The final event of a run."""

    kind: Literal["run_finished"] = "run_finished"
    outcome: Outcome
    error: ErrorReport | None = None
    result: RunResult | None = None


RunEvent: TypeAlias = Annotated[
    RunStarted
    | WorkersStarted
    | DeviceReady
    | ProvenanceRecorded
    | Resumed
    | DataChecked
    | DataSetChecked
    | PoolChecked
    | PoolLabelled
    | WeightsLoaded
    | TeacherChecked
    | DistillationPlanned
    | Progress
    | MetricsLogged
    | EvaluationProgress
    | EpochFinished
    | Evaluated
    | MeanEvaluated
    | EndedEarly
    | Diagnosed
    | CheckpointSaved
    | ArtifactSaved
    | Exported
    | ScaleChosen
    | Warned
    | TeachersOrdered
    | StageStarted
    | StageFinished
    | TrialStarted
    | TrialReported
    | TrialEnded
    | TrialEvent
    | SweepProgressed
    | StudyReported
    | RunFinished,
    Field(discriminator="kind"),
]

RUN_EVENT: TypeAdapter[RunEvent] = TypeAdapter(RunEvent)


class StoredEvent(Fact):
    """An event as the API returns it. Within a job, `sequence` counts from 1 without gaps.

    When a job ended long ago, a retention pass deletes its events of the kinds `progress`, `evaluation_progress` and
    `sweep_progressed`, also those that trials reported. The other events keep their numbers; the last one always stays.
    """

    job_id: str
    sequence: int
    at: datetime
    attempt: int | None
    """Number of the attempt that reported it; None for events of the control plane."""
    kind: str
    data: dict[str, Any]
    """The event's fields, with `kind`. A reader should skip kinds that it does not know."""
