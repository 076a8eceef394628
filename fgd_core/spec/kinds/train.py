"""Training on labels only."""

from typing import Literal

from fgd_core.spec.data import DataSpec, InputSpec
from fgd_core.spec.detectors import DetectorSpec
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
