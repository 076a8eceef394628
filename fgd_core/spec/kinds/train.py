"""Training on labels only."""

from typing import Literal, Self

from pydantic import model_validator

from fgd_core.spec.data import DataSpec, InputSpec
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.spec.evaluation import EvaluationSpec
from fgd_core.spec.kinds.base import AnyJob
from fgd_core.spec.training import TrainingSpec


class TrainSpec(AnyJob):
    """Train a detector on labels only: a teacher, or a student without distillation as the baseline."""

    kind: Literal["train"] = "train"
    detector: DetectorSpec
    """The detector to train."""
    data: DataSpec
    """The training and validation images."""
    input: InputSpec = InputSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()

    @model_validator(mode="after")
    def _input_suits_detector(self) -> Self:
        self.input.check_suits(self.detector, "detector")
        return self
