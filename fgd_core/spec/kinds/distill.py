"""Distillation from one teacher, or from several teachers at the same time."""

from collections.abc import Mapping
from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from fgd_core.spec.data import DataSpec, InputSpec, files_of
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.spec.evaluation import EvaluationSpec
from fgd_core.spec.kinds.base import AnyJob
from fgd_core.spec.kinds.default_scale import with_default_scale
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.methods import MethodSpec
from fgd_core.spec.methods.single import RECOMMENDED
from fgd_core.spec.pool import PoolFolder, PoolSettings
from fgd_core.spec.training import TrainingSpec

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
    method: MethodSpec = RECOMMENDED
    """The distillation method: how the student imitates the teacher. A method without a type is FGD."""
    inherit: Inheritance = "neck_and_head"
    """The part of the teacher's weights that the student starts with. `neck_and_head`, `neck`, `head`: that part, where
    the shapes are equal. `by_shape`: all weights of equal shape, the backbone's too. `full`: all weights; it is an
    error if one does not fit. `nothing`: none."""
    data: DataSpec
    """The training and validation images, and the pool of images without labels, if there is one."""
    pool: PoolSettings = PoolSettings()
    input: InputSpec = InputSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()

    @property
    def teachers(self) -> Mapping[str, Teacher]:
        """All teachers, by the path of their field."""
        return {"teacher": self.teacher} | {
            f"more_teachers.{index}": each for index, each in enumerate(self.more_teachers)
        }

    @model_validator(mode="before")
    @classmethod
    def _has_a_scale(cls, given: object) -> object:
        return with_default_scale(given)

    @model_validator(mode="after")
    def _input_suits_student(self) -> Self:
        self.input.check_suits(self.student, "student")
        return self

    @model_validator(mode="after")
    def _some_teacher_counts(self) -> Self:
        if not any(each.weight for each in self.teachers.values()):
            raise ValueError("every teacher has weight 0; give one a weight above 0, or set method.scale to 0")
        return self


def pool_of(spec: TrainSpec | DistillSpec) -> PoolFolder | None:
    """Return the pool that a training reads; None if it reads none, or its data is not resolved yet."""
    files = files_of(spec.data) if isinstance(spec, DistillSpec) and spec.pool.weight else None
    return files.pool if files is not None else None


def pool_faults(spec: DistillSpec) -> list[str]:
    """Return why a distillation cannot use the pool of its data, in words; empty if it can, or uses none."""
    if pool_of(spec) is None:
        return []
    reads = {
        f"learns {'masks' if spec.student.has_masks else 'keypoints'} ({spec.student.name()})": spec.student.has_masks
        or spec.student.has_keypoints,
        f"reads other pictures of each image ({', '.join(needed_pictures(spec))})": bool(needed_pictures(spec)),
        "changes images by the masks of their objects (input.augment)": spec.input.needs_masks,
    }
    return [
        f"the distillation {what}, and the images of data.pool have none; change that, or set pool.weight to 0"
        for what, is_read in reads.items()
        if is_read
    ]


def needed_pictures(spec: TrainSpec | DistillSpec) -> Mapping[str, int | None]:
    """Return the other pictures that a training reads, by name: in how many epochs; None: in all."""
    if isinstance(spec, TrainSpec) or spec.method.weighs_nothing:
        return {}
    schedule = spec.method.scale_schedule
    until_epoch = schedule.until_epoch if schedule is not None else None
    seen = {each.picture: until_epoch for each in spec.teachers.values() if each.picture is not None}
    compared = {name: _earlier(epochs, until_epoch) for name, epochs in spec.method.pictures.items()}
    return {**compared, **seen}


def _earlier(*epochs: int | None) -> int | None:
    """Return the smallest number; None, which means all epochs, if there is none."""
    return min((each for each in epochs if each is not None), default=None)
