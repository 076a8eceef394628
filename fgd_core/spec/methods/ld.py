"""Localisation distillation."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.methods.base import AnyMethod, Unmet
from fgd_core.spec.methods.same_head import differences


class Ld(AnyMethod):
    """Localisation distillation (arXiv:2102.12252): imitates the teacher's distributions of box sides, at the locations
    of objects and in a region around them, and its class scores. The defaults are the published values.

    Published for COCO with GFL, as teacher / student alone / distilled: R101 (trained for 24 epochs at several sizes)
    to R50 44.9 / 40.1 / 42.1, to R34 44.9 / 38.9 / 41.0, to R18 44.9 / 35.8 / 37.5; each student trained for 12 epochs.
    With imitation of feature maps as well, R50 reaches 42.4; that part is not here: combine `ld` with another method.

    As in the authors' code, the box losses are sums over locations and not means. The published weights belong to two
    images on each GPU; with more images on a GPU divide `main` and `valuable` by the same factor. The class loss is a
    mean.
    """

    student_needs = frozenset({"distributions", "class_scores"})
    teacher_needs = frozenset({"distributions", "class_scores"})
    weight_fields = {"main": "main", "valuable": "valuable", "classes": "classes"}
    students_of_recipes = frozenset({"gfl"})

    type: Literal["ld"] = "ld"
    main: float = Field(default=0.25, ge=0)
    """Weight of the sides' distributions at the locations of objects."""
    valuable: float = Field(default=0.25, ge=0)
    """Weight of the sides' distributions in the region around objects that is still valuable for localisation."""
    classes: float = Field(default=10.0, ge=0)
    """Weight of the class scores at the locations of objects."""
    temperature: float = Field(default=10.0, gt=0)
    """Temperature of the distributions of sides."""
    class_temperature: float = Field(default=2.0, gt=0)
    """Temperature of the class scores."""

    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        """Yield why this pair cannot be distilled: no distributions, or of other bins."""
        yield from super().unmet(student, teacher)
        yield from differences(self, student, teacher)
