"""Distillation from several teachers, one after another."""

from typing import Literal, Self

from pydantic import field_validator, model_validator

from fgd_core.spec.base import Command
from fgd_core.spec.chains import TeacherOrder
from fgd_core.spec.data import DataSpec, InputSpec
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.spec.kinds.base import AnyJob
from fgd_core.spec.kinds.default_scale import with_default_scale
from fgd_core.spec.kinds.distill import DistillSpec, Inheritance
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.methods import MethodSpec
from fgd_core.spec.methods.single import RECOMMENDED
from fgd_core.spec.pool import PoolSettings
from fgd_core.spec.training import TimeBudget, TrainingSpec, sum_of_budgets

_MAX_STAGES = 20
_STAGE_SEEDS = 1000
"""Distance of the seeds of two stages: the stages of chains with neighbouring seeds get different seeds."""


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
    """Whether to train a control after the chain: the same student with the last teacher alone, for as many epochs and
    hours as all stages together, and without an early stop. It doubles the time; without it the gain of the chain is
    unknown."""
    method: MethodSpec = RECOMMENDED
    """The distillation method of the stages that have none of their own. A method without a type is FGD."""
    inherit: Inheritance = "neck_and_head"
    """The part of the first teacher's weights that the student starts with; see `kind: distill`. Later stages inherit
    nothing. The control inherits this part from its own teacher."""
    data: DataSpec
    """The training and validation images, and the pool of images without labels, if there is one."""
    pool: PoolSettings = PoolSettings()
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

    @model_validator(mode="before")
    @classmethod
    def _has_a_scale(cls, given: object) -> object:
        return with_default_scale(given)

    @model_validator(mode="after")
    def _input_suits_student(self) -> Self:
        self.input.check_suits(self.student, "student")
        return self

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
        """Return the control as a job: the stage's teacher alone, for as many epochs and hours as all stages together.

        The control has no early stop. The patience of a stage would end it before its learning rate falls, and the
        chain would be compared with a training that is not finished.

        Args:
            index: of the stage that is trained last.
        """
        stage = self.stages[index]
        whole = {"epochs": self.epochs, "budget": self._budget, "early_stop": None}
        training = (stage.training or self.training).model_copy(update=whole)
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
        return sum(training.epochs for training in self._trainings)

    @property
    def _trainings(self) -> list[TrainingSpec]:
        return [stage.training or self.training for stage in self.stages]

    @property
    def _budget(self) -> TimeBudget | None:
        return sum_of_budgets([training.budget for training in self._trainings])

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
            pool=self.pool,
            input=self.input,
            training=training,
        )
