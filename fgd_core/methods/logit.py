"""Distillation of a detector's outputs: class scores and boxes.

Dense detectors are compared at every location with the losses of `fgd_core.methods.parts.dense`. Two-stage detectors
are compared on the regions that the teacher samples: T^2 KL of the class probabilities, averaged over the regions with
an object, and over those without.
"""

from collections.abc import Mapping, Sequence

from fgd_core.methods.base import Lesson, Method, Side, Terms
from fgd_core.methods.parts.comparable import check_same_classes, check_same_locations
from fgd_core.methods.parts.dense import imitation
from fgd_core.methods.parts.region_methods import ClassWeights, RegionClasses
from fgd_core.outputs import DenseOutputs
from fgd_core.spec.loss_names import HEAD
from fgd_core.spec.methods.logit import Logit


class DenseLogits(Method):
    """Compares class scores and boxes at every location."""

    def __init__(self, method: Logit, student: Side, teacher: Side) -> None:
        super().__init__()
        check_same_locations(method.name(), student, teacher)
        check_same_classes(method.name(), teacher)
        self._weights = {"classes": method.classes, "boxes": method.boxes}

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss of the head."""
        student, teacher = lesson.student.outputs, lesson.teacher.outputs
        assert isinstance(student, DenseOutputs) and isinstance(teacher, DenseOutputs)
        return {HEAD: imitation(student, teacher, student.assigned, self._weights)}

    def compares(self) -> Sequence[str]:
        """Return what is compared, in words."""
        return ("class scores and boxes at every location",)


def build_logit(method: Logit, student: Side, teacher: Side) -> Method:
    """Build the method for two dense detectors, or for two detectors with regions."""
    if not student.has_regions:
        return DenseLogits(method, student, teacher)
    weights = ClassWeights(method.foreground, method.background)
    return RegionClasses(method.name(), student, teacher, weights, temperature=method.temperature)
