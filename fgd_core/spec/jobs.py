"""Jobs: what a user submits."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, JsonValue, TypeAdapter, model_validator

from fgd_core.spec.base import Command
from fgd_core.spec.data import DataSpec, InputSpec
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.spec.methods import MethodSpec
from fgd_core.spec.paths import changed
from fgd_core.spec.resources import Resources
from fgd_core.spec.retry import RetryPolicy
from fgd_core.spec.search import Dimension, SweepSettings, preset_space
from fgd_core.spec.training import TrainingSpec

SPEC_VERSION = 1

JobName: TypeAlias = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
ProjectName: TypeAlias = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Priority: TypeAlias = Annotated[int, Field(ge=-100, le=100)]


class AnyJob(Command):
    """What every job says, whatever its kind."""

    name: JobName
    """What people call it; several jobs may share one."""
    project: ProjectName = "default"
    """Whose share of the cluster it takes; quotas and tokens go by it."""
    priority: Priority = 0
    """Higher goes first; can be changed while the job waits."""
    preemptible: bool = False
    """Whether a job of higher priority may pause this one; it goes on by itself once there is room."""
    resources: Resources = Resources()
    retry: RetryPolicy = RetryPolicy()
    seed: int = Field(default=0, ge=0)
    """Of first weights, of the order of images and of what augmentation draws: the same seed, the same run."""


class TrainSpec(AnyJob):
    """Train a detector on the labels alone: a teacher, or the plain student that a distilled one is held against."""

    kind: Literal["train"] = "train"
    detector: DetectorSpec
    """What is trained."""
    data: DataSpec
    """The images to learn from and to score on."""
    input: InputSpec = InputSpec()
    training: TrainingSpec = TrainingSpec()


class Teacher(Command):
    checkpoint: str
    """A checkpoint of ours (a path, or `job:<id>/best`, which makes this job wait for that one), a whole detector of
    torchvision by the name of its weights (`FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1`), or a file of others with
    torchvision's or mmdetection's names, of which `detector` says what it holds."""
    detector: DetectorSpec | None = None
    """What a file of others holds; of torchvision's weights by name only where it differs from what their name implies,
    as in `nms_iou_threshold`. A checkpoint of ours says it itself."""
    classes: tuple[str, ...] | None = None
    """Of a file of others, in the order of its outputs, with N/A for one that stands for no class; else the list in the
    file, or COCO's where there are as many."""
    gate: Literal["ap", "keys"] = "ap"
    """What must hold before the first step: `ap`: all keys match and the AP on the validation split is what the
    checkpoint records, over the classes that teacher and data have in common; `keys`: only that all keys match, for a
    teacher of other classes."""
    max_ap_drop: float = Field(default=0.02, ge=0, le=1)
    """How far below its recorded AP the teacher may fall on the same validation split."""
    expected_ap: float | None = Field(default=None, ge=0, le=1)
    """The AP that it has to show on this validation split, less `max_ap_drop`: what was published, where no checkpoint
    records it."""
    input_scale: float = Field(default=1.0, ge=0.25, le=4)
    """The teacher sees each image resized by this factor: 2 lets it look closer than the student. Its levels are those
    of `stride / input_scale` pixels of the student's image; what it sees is what its AP is measured on."""

    @model_validator(mode="after")
    def _weights_are_named_once(self) -> Self:
        if self.detector is not None and self.detector.weights is not None:
            raise ValueError("a teacher's weights are its checkpoint; leave detector.weights out")
        if self.detector is not None and self.checkpoint.startswith("job:"):
            raise ValueError("the checkpoint of a job says itself what it holds; leave detector out")
        if self.classes is not None and self.detector is None:
            raise ValueError("only a file of others needs its classes said, and needs its detector said as well")
        return self


Inheritance: TypeAlias = Literal["nothing", "full", "neck_and_head", "neck", "head", "by_shape"]


class DistillSpec(AnyJob):
    """Train a student that also imitates a teacher's feature maps."""

    kind: Literal["distill"] = "distill"
    student: DetectorSpec
    """What is trained, and kept."""
    teacher: Teacher
    method: MethodSpec
    """How the student imitates the teacher."""
    inherit: Inheritance = "neck_and_head"
    """What the student starts with of the teacher's weights: `neck_and_head`, `neck` or `head`, where the shapes agree;
    `by_shape`: whatever agrees, the backbone's too; `full`: everything, or it is an error."""
    data: DataSpec
    """The images to learn from and to score on."""
    input: InputSpec = InputSpec()
    training: TrainingSpec = TrainingSpec()


class EvaluateSpec(AnyJob):
    """Score a checkpoint on a validation split."""

    kind: Literal["evaluate"] = "evaluate"
    checkpoint: str
    """A checkpoint of ours: a path, or `job:<id>/best`."""
    data: DataSpec
    """Its images to score on."""
    input: InputSpec | None = None
    """The checkpoint's own, unless given."""
    batch_size: int = Field(default=8, ge=1)
    """Images at once."""


class CheckDataSpec(AnyJob):
    """Look through a data set: count it, name what is wrong with it, take its fingerprint and draw samples of it.

    It fails where a training on this data would.
    """

    kind: Literal["check_data"] = "check_data"
    data: DataSpec
    """What is looked through."""
    num_samples: int = Field(default=12, ge=1, le=60)
    """Images of each split that are drawn with their boxes."""


TrialBase: TypeAlias = Annotated[TrainSpec | DistillSpec, Field(discriminator="kind")]
_OF_THE_SWEEP = ("project", "priority", "preemptible", "resources", "retry", "seed")


class SweepSpec(AnyJob, SweepSettings):
    """Search the settings of a job: many trials of one base. `resources` are each trial's, `seed` the first one's."""

    kind: Literal["sweep"] = "sweep"
    base: TrialBase
    """What a trial is before the space changes it; its name may be left out."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_base(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("base"), dict) and "name" in data:
            return {**data, "base": {"name": data["name"], **data["base"]}}
        return data

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        twice = sorted(self.base.model_fields_set & set(_OF_THE_SWEEP))
        defaults = type(self.base).model_fields
        told = [name for name in twice if getattr(self.base, name) != defaults[name].default]
        if told:
            raise ValueError(f"say {', '.join(told)} on the sweep and not in its base; it holds for every trial")
        return self

    def dimensions(self) -> dict[str, Dimension]:
        """What is searched, by field of the base; of a ready space, its dimensions."""
        if isinstance(self.space, dict):
            return dict(self.space)
        return preset_space(self.space, published(self.base))

    def trial(self, values: Mapping[str, JsonValue], *, seed: int, name: str | None = None) -> TrainSpec | DistillSpec:
        """The job that a trial is: fit to be submitted by itself.

        Args:
            values: by field path; the rest is as in the base.
        Raises:
            pydantic.ValidationError: the base does not take these values.
        """
        spec = changed(self.base, values)
        told = {each: self.model_dump(mode="json")[each] for each in _OF_THE_SWEEP}
        return type(self.base).model_validate({**spec, **told, "seed": seed, "name": name or self.name})


def published(base: TrainSpec | DistillSpec) -> dict[str, JsonValue]:
    """The published settings of the base's method for its detector; none where it has no method."""
    if isinstance(base, TrainSpec):
        return {}
    values: dict[str, JsonValue] = type(base.method)(mask=base.method.mask).model_dump(mode="json")
    return values


JobSpec: TypeAlias = Annotated[
    TrainSpec | DistillSpec | EvaluateSpec | CheckDataSpec | SweepSpec, Field(discriminator="kind")
]

JOB_SPEC: TypeAdapter[JobSpec] = TypeAdapter(JobSpec)


def data_of(spec: JobSpec) -> tuple[str, DataSpec]:
    """The data that a job opens, with the path of its field."""
    return ("base.data", spec.base.data) if isinstance(spec, SweepSpec) else ("data", spec.data)


def with_data(spec: JobSpec, data: DataSpec) -> JobSpec:
    if isinstance(spec, SweepSpec):
        return spec.model_copy(update={"base": spec.base.model_copy(update={"data": data})})
    return spec.model_copy(update={"data": data})


_REFERENCE = re.compile(r"^job:(?P<job_id>[A-Za-z0-9_-]+)/(?P<name>best|last)$")


def checkpoint_artifact(name: str) -> str:
    """The artifact's name under which the checkpoint `best` or `last` of a job is kept."""
    return f"{name}.pt"


class CheckpointReference(Command):
    """`job:<id>/best` or `job:<id>/last`, taken apart."""

    job_id: str
    name: Literal["best", "last"]

    def __str__(self) -> str:
        return f"job:{self.job_id}/{self.name}"


def checkpoint_sources(spec: JobSpec) -> list[tuple[str, str]]:
    """Where `spec` takes checkpoints from: (path of the field, its value), fields left empty aside.

    A value is a path, a `job:<id>/<name>` reference or, for a detector's weights, a name of torchvision's.
    """
    sources: list[tuple[str, str | None]] = []
    match spec:
        case TrainSpec():
            sources = [("detector.weights", spec.detector.weights)]
        case DistillSpec():
            sources = [("student.weights", spec.student.weights), ("teacher.checkpoint", spec.teacher.checkpoint)]
        case EvaluateSpec():
            sources = [("checkpoint", spec.checkpoint)]
        case SweepSpec():
            sources = [(f"base.{loc}", source) for loc, source in checkpoint_sources(spec.base)]
    return [(loc, source) for loc, source in sources if source is not None]


def parse_reference(source: str) -> CheckpointReference | None:
    """The reference in `source`; None where it is a path or a name.

    Raises:
        ValueError: it begins with `job:` and is no reference.
    """
    if not source.startswith("job:"):
        return None
    match_ = _REFERENCE.match(source)
    if match_ is None:
        raise ValueError(f"{source!r} is no checkpoint reference; write job:<id>/best or job:<id>/last")
    return CheckpointReference.model_validate(match_.groupdict())


def checkpoint_references(spec: JobSpec) -> list[CheckpointReference]:
    """The jobs whose checkpoints `spec` needs, each once, in the order in which it names them.

    Raises:
        ValueError: a string begins with `job:` and is no reference.
    """
    found: list[CheckpointReference] = []
    for _, source in checkpoint_sources(spec):
        reference = parse_reference(source)
        if reference is not None and reference not in found:
            found.append(reference)
    return found
