"""Cross-head knowledge distillation."""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field

from fgd_core.spec.detectors import AnyDetector, Fcos, Gfl
from fgd_core.spec.methods.base import AnyMethod, Unmet
from fgd_core.spec.methods.same_head import differences


class CrossKd(AnyMethod):
    """Cross-head distillation (arXiv:2306.11369): sends the student's maps from inside its head through the rest of the
    teacher's head, and compares what comes out with the teacher's own outputs. So the student's own outputs only learn
    from the objects. The defaults are the published values for RetinaNet.

    Published for COCO, as teacher / student alone / distilled: GFL R101 to R50 44.9 / 40.2 / 43.7; RetinaNet R101 to
    R50 38.9 / 37.4 / 39.7; FCOS R101 to R50 40.8 / 38.5 / 41.1; each with PKD as well 43.9, 39.8 and 41.3. Both
    detectors must be of one kind; their classes may differ, because both outputs are the teacher's.

    Two details differ from the authors' code: a student whose head has another width gets a trained 1x1 convolution,
    and the losses of FCOS are divided by the number of locations with an object, not by the sum of their centreness.
    """

    student_needs = frozenset({"towers", "class_scores"})
    teacher_needs = frozenset({"towers", "class_scores"})
    weight_fields = {"classes": "classes", "boxes": "boxes", "sides": "sides"}
    students_of_recipes = frozenset({"gfl", "retinanet"})

    type: Literal["crosskd"] = "crosskd"
    classes: float = Field(default=1.0, ge=0)
    """Weight of the class scores."""
    boxes: float = Field(default=1.0, ge=0)
    """Weight of the boxes. Published: 1 for RetinaNet, 0.75 for FCOS, 0 for GFL."""
    sides: float = Field(default=0.0, ge=0)
    """Weight of the distributions of box sides, if the detector has them. Published: 4 for GFL."""
    box_measure: Literal["giou", "iou"] = "giou"
    """How boxes are compared: 1 - GIoU, or -log IoU. Published: `giou` for RetinaNet, `iou` for FCOS."""
    depth: int = Field(default=3, ge=1, le=4)
    """Number of convolutions of the student's head that run before the teacher's head takes over. Published: 3, and 2
    for FCOS."""

    def published(self, student: AnyDetector, teacher: AnyDetector | None) -> Self:
        """Return the values of the authors' configuration for the kind of detector."""
        plain = super().published(student, teacher)
        match student:
            case Gfl():
                return plain.model_copy(update={"boxes": 0.0, "sides": 4.0})
            case Fcos():
                return plain.model_copy(update={"classes": 0.4, "boxes": 0.75, "box_measure": "iou", "depth": 2})
        return plain

    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        """Yield why this pair cannot be distilled: no towers, other kinds of detector, distributions of other bins."""
        yield from super().unmet(student, teacher)
        yield from differences(self, student, teacher)
        if self.sides > 0 and "distributions" not in student.offers:
            yield Unmet("method.sides", f"{student.name()} predicts no distributions of box sides; set it to 0")
