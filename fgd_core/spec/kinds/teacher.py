"""The teacher of a distillation."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from fgd_core.spec.base import Command
from fgd_core.spec.data import PictureName
from fgd_core.spec.detectors import AnyDetector, DetectorSpec
from fgd_core.spec.pretrained import implied_detector

_DETECTOR: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)


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
        check_source(self.checkpoint, self.detector, self.classes)
        return self


def check_source(checkpoint: str, detector: AnyDetector | None, classes: Sequence[str] | None) -> None:
    """Check that the fields which describe a trained detector agree.

    Raises:
        ValueError: the weights are named twice, or a description lacks its file.
    """
    if detector is not None and detector.weights is not None:
        raise ValueError("the weights come from the checkpoint; leave out detector.weights")
    if detector is not None and checkpoint.startswith("job:"):
        raise ValueError("the checkpoint of a job contains its detector; leave out detector")
    if classes is not None and detector is None:
        raise ValueError(
            "classes describe a file that fgd did not write, which needs a detector too; "
            "set detector, or leave out classes"
        )


def teacher_detector(teacher: Teacher) -> AnyDetector | None:
    """Return the teacher's detector as far as the spec says it; None if only the checkpoint does."""
    implied = implied_detector(teacher.checkpoint)
    return teacher.detector or (_DETECTOR.validate_python(implied) if implied is not None else None)


def with_teacher(loc: str, of_teacher: str) -> str:
    """Return the path of a field of the teacher at another teacher's path: `more_teachers.0.detector`."""
    return of_teacher + loc.removeprefix("teacher") if loc.split(".", maxsplit=1)[0] == "teacher" else loc
