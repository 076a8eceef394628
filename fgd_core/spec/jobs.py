"""Jobs: the specs that users submit."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, JsonValue, TypeAdapter, ValidationError, field_validator, model_validator

from fgd_core.spec.base import Command
from fgd_core.spec.chains import TeacherOrder
from fgd_core.spec.data import (
    DatasetName,
    DataSpec,
    FileData,
    InputSpec,
    PictureFolders,
    PictureName,
    files_of,
    pictures_of,
)
from fgd_core.spec.derivations import Derivation
from fgd_core.spec.detectors import AnyDetector, DetectorSpec
from fgd_core.spec.dimensions import Dimension
from fgd_core.spec.methods import METHOD_TYPES, MethodSpec, preset_space
from fgd_core.spec.paths import changed
from fgd_core.spec.pretrained import implied_detector
from fgd_core.spec.resources import Resources, RetryPolicy
from fgd_core.spec.search import SweepSettings
from fgd_core.spec.training import TrainingSpec

SPEC_VERSION = 1
_DETECTOR: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)

JobName: TypeAlias = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
ProjectName: TypeAlias = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Priority: TypeAlias = Annotated[int, Field(ge=-100, le=100)]


class AnyJob(Command):
    """The settings that all kinds of jobs have."""

    name: JobName
    """A name for people; several jobs may have the same name."""
    project: ProjectName = "default"
    """The project that the job belongs to. Its share of the cluster, its quotas and its tokens apply."""
    priority: Priority = 0
    """Jobs of higher priority start first. Can be changed while the job waits."""
    preemptible: bool = False
    """Whether a job of higher priority may pause this job. The job resumes by itself when resources are free."""
    resources: Resources = Resources()
    retry: RetryPolicy = RetryPolicy()
    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights, the order of images and the augmentation. The same seed gives the same run."""


class TrainSpec(AnyJob):
    """Train a detector on labels only: a teacher, or a student without distillation as the baseline."""

    kind: Literal["train"] = "train"
    detector: DetectorSpec
    """The detector to train."""
    data: DataSpec
    """The training and validation images."""
    input: InputSpec = InputSpec()
    training: TrainingSpec = TrainingSpec()


class Teacher(Command):
    """The trained detector that a student imitates."""

    checkpoint: str
    """A checkpoint of fgd (a path, or `job:<id>/best`; this job then waits for that job), a whole detector of
    torchvision by the name of its weights (`FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1`), or a file with torchvision's
    or mmdetection's parameter names; `detector` then says which detector the file holds."""
    detector: DetectorSpec | None = None
    """The detector in a file that fgd did not write. With torchvision's weights by name, only needed for settings that
    differ from what the name implies, for example `nms_iou_threshold`. A checkpoint of fgd contains its detector."""
    classes: tuple[str, ...] | None = None
    """Class names of a file that fgd did not write, in the order of its outputs, with N/A for outputs without a class.
    Default: the list in the file, or COCO's classes if their number fits."""
    gate: Literal["ap", "keys"] = "ap"
    """What is checked before the first step. `ap`: all keys match, and the AP on the validation split, over the classes
    that teacher and data share, is the AP that the checkpoint records. `keys`: only that all keys match, for a teacher
    of other classes."""
    max_ap_drop: float = Field(default=0.02, ge=0, le=1)
    """How far the teacher's AP may be below its recorded AP on the same validation split, in [0, 1]."""
    expected_ap: float | None = Field(default=None, ge=0, le=1)
    """The AP that the teacher must reach on this validation split, minus `max_ap_drop`. For example the published AP,
    if no checkpoint records an AP."""
    input_scale: float = Field(default=1.0, ge=0.25, le=4)
    """The teacher's images are resized by this factor: with 2 it sees more detail than the student. In pixels of the
    student's image, its levels have strides of `stride / input_scale`. Its AP is measured at this scale as well."""
    picture: PictureName | None = None
    """The picture of `data.pictures` that it sees in place of the image, for example `depth` for a teacher that was
    trained on depth maps. Its AP is measured on this picture as well. None: the image, like the student."""
    weight: float = Field(default=1.0, ge=0)
    """Weight of its loss in the mean over all teachers. It has no effect on a single teacher."""

    @model_validator(mode="after")
    def _weights_are_named_once(self) -> Self:
        if self.detector is not None and self.detector.weights is not None:
            raise ValueError("the teacher's weights come from its checkpoint; leave out detector.weights")
        if self.detector is not None and self.checkpoint.startswith("job:"):
            raise ValueError("the checkpoint of a job contains its detector; leave out detector")
        if self.classes is not None and self.detector is None:
            raise ValueError(
                "classes describe a file that fgd did not write, which needs a detector too; "
                "set detector, or leave out classes"
            )
        return self


Inheritance: TypeAlias = Literal["nothing", "full", "neck_and_head", "neck", "head", "by_shape"]


class DistillSpec(AnyJob):
    """Train a student that also learns to imitate a teacher's feature maps."""

    kind: Literal["distill"] = "distill"
    student: DetectorSpec
    """The detector to train; its checkpoint is the result."""
    teacher: Teacher
    """The teacher; of several teachers, the one whose weights the student inherits."""
    more_teachers: tuple[Teacher, ...] = Field(default=(), max_length=7)
    """Further teachers, which the student imitates at the same time. Each has its own instance of the method; the loss
    is the weighted mean over all teachers. They may be other detectors with other classes: methods that compare class
    scores of dense detectors use the classes that teacher and data share. No published recipe is known."""
    method: MethodSpec
    """The distillation method: how the student imitates the teacher."""
    inherit: Inheritance = "neck_and_head"
    """The part of the teacher's weights that the student starts with. `neck_and_head`, `neck`, `head`: that part, where
    the shapes are equal. `by_shape`: all weights of equal shape, the backbone's too. `full`: all weights; it is an
    error if one does not fit. `nothing`: none."""
    data: DataSpec
    """The training and validation images."""
    input: InputSpec = InputSpec()
    training: TrainingSpec = TrainingSpec()

    @property
    def teachers(self) -> Mapping[str, Teacher]:
        """All teachers, by the path of their field."""
        return {"teacher": self.teacher} | {
            f"more_teachers.{index}": each for index, each in enumerate(self.more_teachers)
        }

    @model_validator(mode="after")
    def _some_teacher_counts(self) -> Self:
        if not any(each.weight for each in self.teachers.values()):
            raise ValueError("every teacher has weight 0; give one a weight above 0, or set method.scale to 0")
        return self


class Stage(Command):
    """A teacher of a chain, and how the student learns from it."""

    teacher: Teacher
    method: MethodSpec | None = None
    """Default: the method of the chain."""
    training: TrainingSpec | None = None
    """Default: the training of the chain."""

    @model_validator(mode="after")
    def _teacher_counts(self) -> Self:
        if not self.teacher.weight:
            raise ValueError("the stage's only teacher has weight 0; leave out teacher.weight, or leave out the stage")
        return self


_MAX_STAGES = 20
_STAGE_SEEDS = 1000
"""Distance of the seeds of two stages: the stages of chains with neighbouring seeds get different seeds."""


class ChainSpec(AnyJob):
    """Distil several teachers into one student, one after another (progressive distillation, arXiv:2308.09105).

    Each stage is a whole distillation with a fresh optimizer and schedule. It begins with the best student of the stage
    before. The result is the best student of the last stage.
    """

    kind: Literal["chain"] = "chain"
    student: DetectorSpec
    """The detector to train; its checkpoint is the result."""
    stages: tuple[Stage, ...]
    """The teachers, 2 to 20. The published chains have two, the weaker one first."""
    order: TeacherOrder = "given"
    """`given`: as listed. `adaptation_cost`: the teacher of the highest AP is the last one, and before each teacher
    comes the one whose feature maps a linear map turns best into those of that teacher."""
    control: bool = True
    """Whether to train a control after the chain: the same student with the last teacher alone, for as many epochs as
    all stages together. It doubles the time; without it the gain of the chain is unknown."""
    method: MethodSpec
    """The distillation method of the stages that have none of their own."""
    inherit: Inheritance = "neck_and_head"
    """The part of the first teacher's weights that the student starts with; see `kind: distill`. Later stages inherit
    nothing. The control inherits this part from its own teacher."""
    data: DataSpec
    """The training and validation images."""
    input: InputSpec = InputSpec()
    training: TrainingSpec = TrainingSpec()
    """The training of the stages that have none of their own; each stage has all its epochs."""

    # Not by `min_length`: pydantic would then call a list with one malformed stage too short, too.
    @field_validator("stages")
    @classmethod
    def _has_stages(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if not 2 <= len(stages) <= _MAX_STAGES:
            raise ValueError(
                f"a chain has 2 to {_MAX_STAGES} stages, and not {len(stages)}; for one teacher, use kind: distill"
            )
        return stages

    @model_validator(mode="after")
    def _order_can_be_measured(self) -> Self:
        others = [str(index) for index, stage in enumerate(self.stages) if stage.teacher.picture is not None]
        if self.order == "adaptation_cost" and others:
            raise ValueError(
                f"order adaptation_cost compares maps of the same images, and stages {', '.join(others)} have "
                "teacher.picture; set order to given"
            )
        unscored = [str(index) for index, stage in enumerate(self.stages) if stage.teacher.gate == "keys"]
        if self.order == "adaptation_cost" and unscored:
            raise ValueError(
                f"order adaptation_cost needs the AP of each teacher, and stages {', '.join(unscored)} have "
                "teacher.gate keys, which measures none; set gate to ap, or order to given"
            )
        return self

    def stage(self, index: int, *, position: int, weights: str | None) -> DistillSpec:
        """Return a stage as a job; it could also be submitted by itself.

        Args:
            index: of the stage in the spec, from 0.
            position: of the stage in the training, from 0.
            weights: the checkpoint of the student that the stage before has trained; None for the first stage.
        """
        stage = self.stages[index]
        start = {"weights": weights, "weights_set": None}
        return self._distillation(
            stage,
            student=self.student if weights is None else self.student.model_copy(update=start),
            inherit=self.inherit if weights is None else "nothing",
            training=stage.training or self.training,
            seed=self.seed + _STAGE_SEEDS * position,
        )

    def control_of(self, index: int) -> DistillSpec:
        """Return the control as a job: the stage's teacher alone, for as many epochs as all stages together.

        Args:
            index: of the stage that is trained last.
        """
        stage = self.stages[index]
        training = (stage.training or self.training).model_copy(update={"epochs": self.epochs})
        return self._distillation(stage, student=self.student, inherit=self.inherit, training=training, seed=self.seed)

    def place(self, index: int, loc: str) -> str:
        """Return where the spec sets a field of `stage(index, …)`: in the stage, or for all stages.

        Args:
            loc: the path of the field, for example `method.alpha`.
        """
        part = loc.partition(".")[0]
        is_own = part in Stage.model_fields and getattr(self.stages[index], part) is not None
        return f"stages.{index}.{loc}" if is_own else loc

    @property
    def epochs(self) -> int:
        """Number of epochs of all stages together."""
        return sum((stage.training or self.training).epochs for stage in self.stages)

    def _distillation(
        self, stage: Stage, *, student: DetectorSpec, inherit: Inheritance, training: TrainingSpec, seed: int
    ) -> DistillSpec:
        return DistillSpec(
            **{name: getattr(self, name) for name in AnyJob.model_fields if name != "seed"},
            seed=seed,
            student=student,
            teacher=stage.teacher,
            method=stage.method or self.method,
            inherit=inherit,
            data=self.data,
            input=self.input,
            training=training,
        )


class EvaluateSpec(AnyJob):
    """Score a checkpoint on a validation split."""

    kind: Literal["evaluate"] = "evaluate"
    checkpoint: str
    """A checkpoint of fgd: a path, or `job:<id>/best`."""
    data: DataSpec
    """Only its validation images are used."""
    input: InputSpec | None = None
    """Default: the settings in the checkpoint."""
    batch_size: int = Field(default=8, ge=1)
    """Images per forward pass."""


class CheckDataSpec(AnyJob):
    """Check a data set: count it, report its problems, compute its fingerprints and draw samples of it.

    The job fails if a training on this data would fail.
    """

    kind: Literal["check_data"] = "check_data"
    data: DataSpec
    """The data set to check."""
    num_samples: int = Field(default=12, ge=1, le=60)
    """Number of images per split that are drawn with their boxes."""


class DeriveDataSpec(AnyJob):
    """Make another picture of each image of a data set, and register the data set with these pictures.

    A job that is stopped or killed goes on with the images that have no picture yet.
    """

    kind: Literal["derive_data"] = "derive_data"
    data: DataSpec
    """The data set whose images get a picture."""
    teacher: Teacher
    """The detector that the pictures are made with; its AP is not checked."""
    derivation: Derivation = Derivation()
    """How the pictures are made."""
    dataset: DatasetName
    """The name under which the data set is registered together with its pictures, for distillations to use."""
    folder: str
    """Folder that receives the pictures, in `train` and `val`: a new one, or that of an earlier job with the same
    settings. Later jobs must find it at the same path."""
    with_val: bool = False
    """Whether the validation images get pictures too; only teachers that see these pictures need them."""
    input: InputSpec = InputSpec()
    """The size at which the teacher sees the images, best the size of the distillation."""
    num_samples: int = Field(default=12, ge=1, le=60)
    """Number of images per split that are drawn with their boxes."""

    def derived(self) -> FileData | None:
        """Return the data with its new pictures; None if its name is not resolved yet."""
        files = files_of(self.data)
        if files is None:
            return None
        folders = PictureFolders(train=f"{self.folder}/train", val=f"{self.folder}/val" if self.with_val else None)
        return files.model_copy(update={"pictures": {**files.pictures, self.derivation.picture: folders}})


TrialBase: TypeAlias = Annotated[TrainSpec | DistillSpec, Field(discriminator="kind")]
_OF_THE_SWEEP = ("project", "priority", "preemptible", "resources", "retry", "seed")


class SweepSpec(AnyJob, SweepSettings):
    """Search the settings of a job with many trials of one base job.

    `resources` are those of each trial; `seed` is the seed of the first run of each configuration.
    """

    kind: Literal["sweep"] = "sweep"
    base: TrialBase
    """The job that each trial runs, with the values of the search space put in. Its name may be left out."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_base(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("base"), dict) and "name" in data:
            return {**data, "base": {"name": data["name"], **data["base"]}}
        return data

    @model_validator(mode="after")
    def _is_given_once(self) -> Self:
        twice = sorted(self.base.model_fields_set & set(_OF_THE_SWEEP))
        defaults = type(self.base).model_fields
        given = [name for name in twice if getattr(self.base, name) != defaults[name].default]
        if given:
            raise ValueError(
                f"set {', '.join(given)} on the sweep and not in its base; the sweep's value holds for every trial"
            )
        return self

    def dimensions(self) -> dict[str, Dimension]:
        """Return the searched dimensions by field of the base; for a preset, its dimensions.

        Raises:
            KeyError: the base has no method, or the preset searches another one.
        """
        if isinstance(self.space, dict):
            return dict(self.space)
        if isinstance(self.base, TrainSpec):
            raise KeyError(self.space)
        teacher = teacher_detector(self.base.teacher)
        return preset_space(self.space, self.base.method, self.base.student, teacher, pictures_of(self.base.data))

    def trial(self, values: Mapping[str, JsonValue], *, seed: int, name: str | None = None) -> TrainSpec | DistillSpec:
        """Return the job of a trial; it could also be submitted by itself.

        Args:
            values: by field path; all other fields are as in the base.
        Raises:
            pydantic.ValidationError: the base does not accept these values.
        """
        spec = with_values(self.base, values)
        of_sweep = {each: self.model_dump(mode="json")[each] for each in _OF_THE_SWEEP}
        return type(self.base).model_validate({**spec, **of_sweep, "seed": seed, "name": name or self.name})


def with_values(base: TrainSpec | DistillSpec, values: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Return a job in JSON with fields set by path; the result is not validated.

    Another `method.type` brings the published values of that method: weights of the base's method mean nothing to it.

    Raises:
        KeyError: a path leads through a field that does not exist.
    """
    kind = METHOD_TYPES.get(str(values.get("method.type")))
    if kind is not None and isinstance(base, DistillSpec) and not isinstance(base.method, kind):
        method = kind().published(base.student, teacher_detector(base.teacher))
        base = base.model_copy(update={"method": method})
    return changed(base, values)


def published(base: TrainSpec | DistillSpec) -> dict[str, JsonValue]:
    """Return the published settings of the base's method for its pair; empty if the base has no method."""
    if isinstance(base, TrainSpec):
        return {}
    values: dict[str, JsonValue] = base.method.published(base.student, teacher_detector(base.teacher)).model_dump(
        mode="json"
    )
    return values


def written_detector(spec: Mapping[str, Any]) -> AnyDetector | None:
    """Return the detector in the checkpoints of a stored job; None if it has none, or is of a newer version."""
    try:
        job = JOB_SPEC.validate_python(spec)
    except ValidationError:
        return None
    base = job.base if isinstance(job, SweepSpec) else job
    if isinstance(base, DistillSpec | ChainSpec):
        return base.student
    return base.detector if isinstance(base, TrainSpec) else None


def needed_pictures(spec: TrainSpec | DistillSpec) -> Mapping[str, int | None]:
    """Return the other pictures that a training reads, by name: in how many epochs; None: in all."""
    if isinstance(spec, TrainSpec) or spec.method.weighs_nothing:
        return {}
    seen = {each.picture: None for each in spec.teachers.values() if each.picture is not None}
    return {**spec.method.pictures, **seen}


def with_teacher(loc: str, of_teacher: str) -> str:
    """Return the path of a field of the teacher at another teacher's path: `more_teachers.0.detector`."""
    return of_teacher + loc.removeprefix("teacher") if loc.split(".", maxsplit=1)[0] == "teacher" else loc


def teacher_detector(teacher: Teacher) -> AnyDetector | None:
    """Return the teacher's detector as far as the spec says it; None if only the checkpoint does."""
    implied = implied_detector(teacher.checkpoint)
    return teacher.detector or (_DETECTOR.validate_python(implied) if implied is not None else None)


JobSpec: TypeAlias = Annotated[
    TrainSpec | DistillSpec | ChainSpec | EvaluateSpec | CheckDataSpec | DeriveDataSpec | SweepSpec,
    Field(discriminator="kind"),
]

JOB_SPEC: TypeAdapter[JobSpec] = TypeAdapter(JobSpec)


def data_of(spec: JobSpec) -> tuple[str, DataSpec]:
    """Return the path of the field with the job's data, and the data."""
    return ("base.data", spec.base.data) if isinstance(spec, SweepSpec) else ("data", spec.data)


def with_data(spec: JobSpec, data: DataSpec) -> JobSpec:
    """Return a copy of the job with other data."""
    if isinstance(spec, SweepSpec):
        return spec.model_copy(update={"base": spec.base.model_copy(update={"data": data})})
    return spec.model_copy(update={"data": data})


_REFERENCE = re.compile(r"^job:(?P<job_id>[A-Za-z0-9_-]+)/(?P<name>best|last)$")


def checkpoint_artifact(name: str) -> str:
    """Return the name of the artifact that holds the checkpoint `best` or `last` of a job."""
    return f"{name}.pt"


class CheckpointReference(Command):
    """A parsed reference `job:<id>/best` or `job:<id>/last`."""

    job_id: str
    name: Literal["best", "last"]

    def __str__(self) -> str:
        return f"job:{self.job_id}/{self.name}"


def checkpoint_sources(spec: JobSpec) -> list[tuple[str, str]]:
    """Return where `spec` takes checkpoints from, as (path of the field, its value); empty fields are left out.

    A value is a path, a reference `job:<id>/<name>` or, for a detector's weights, a name of torchvision's weights.
    """
    sources: list[tuple[str, str | None]] = []
    match spec:
        case TrainSpec():
            sources = [("detector.weights", spec.detector.weights)]
        case DistillSpec():
            of_teachers = [(f"{loc}.checkpoint", each.checkpoint) for loc, each in spec.teachers.items()]
            sources = [("student.weights", spec.student.weights), *of_teachers]
        case ChainSpec():
            teachers = [
                (f"stages.{i}.teacher.checkpoint", each.teacher.checkpoint) for i, each in enumerate(spec.stages)
            ]
            sources = [("student.weights", spec.student.weights), *teachers]
        case EvaluateSpec():
            sources = [("checkpoint", spec.checkpoint)]
        case DeriveDataSpec():
            sources = [("teacher.checkpoint", spec.teacher.checkpoint)]
        case SweepSpec():
            sources = [(f"base.{loc}", source) for loc, source in checkpoint_sources(spec.base)]
    return [(loc, source) for loc, source in sources if source is not None]


def parse_reference(source: str) -> CheckpointReference | None:
    """Return the reference in `source`; None if it is a path or a name of weights.

    Raises:
        ValueError: `source` begins with `job:` but is not a valid reference.
    """
    if not source.startswith("job:"):
        return None
    match_ = _REFERENCE.match(source)
    if match_ is None:
        raise ValueError(f"{source!r} is not a valid reference to a checkpoint; write job:<id>/best or job:<id>/last")
    return CheckpointReference.model_validate(match_.groupdict())


def checkpoint_references(spec: JobSpec) -> list[CheckpointReference]:
    """Return the checkpoints of other jobs that `spec` needs, each once, in the order of its fields.

    Raises:
        ValueError: a value begins with `job:` but is not a valid reference.
    """
    found: list[CheckpointReference] = []
    for _, source in checkpoint_sources(spec):
        reference = parse_reference(source)
        if reference is not None and reference not in found:
            found.append(reference)
    return found
