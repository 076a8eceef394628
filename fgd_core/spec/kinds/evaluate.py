"""Evaluation of a trained detector."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from fgd_core.spec.data import DataSpec, InputSpec
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.spec.evaluation import EvaluationSpec
from fgd_core.spec.kinds.base import AnyJob
from fgd_core.spec.kinds.teacher import Teacher, check_source

SetName: TypeAlias = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class EvaluateSpec(AnyJob):
    """Score a trained detector on a validation split, or on several."""

    kind: Literal["evaluate"] = "evaluate"
    checkpoint: str
    """What a teacher may be: a checkpoint of fgd (a path, or `job:<id>/best`), a whole detector of torchvision by the
    name of its weights, or a file with torchvision's or mmdetection's parameter names, which needs `detector`."""
    detector: DetectorSpec | None = None
    """The detector in a file that fgd did not write. A checkpoint of fgd contains its detector."""
    classes: tuple[str, ...] | None = None
    """Class names of a file that fgd did not write, in the order of its outputs, with N/A for outputs without a class.
    Default: the list in the file, or COCO's classes if their number fits."""
    data: DataSpec
    """Only its validation images are used. A checkpoint of fgd must have its classes; of other files, the classes that
    both have are scored."""
    more_data: dict[SetName, DataSpec] = Field(default={}, max_length=20)
    """Further data sets by a name of your choice; the result has the scores on each. Only their validation images are
    used."""
    input: InputSpec | None = None
    """Default: the settings in the checkpoint."""
    batch_size: int = Field(default=8, ge=1)
    """Images per forward pass."""
    evaluation: EvaluationSpec = EvaluationSpec()

    @model_validator(mode="after")
    def _weights_are_named_once(self) -> Self:
        check_source(self.checkpoint, self.detector, self.classes)
        return self

    def source(self) -> Teacher:
        """Return the detector in the form that loads it."""
        return Teacher(checkpoint=self.checkpoint, detector=self.detector, classes=self.classes)
