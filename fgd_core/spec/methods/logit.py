"""Distillation of a detector's outputs."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from fgd_core.spec.detectors import AnyDetector, TwoStage
from fgd_core.spec.methods.base import AnyMethod, Unmet, WeighedTerm, lacking
from fgd_core.spec.methods.same_head import differences

_OF_REGIONS = ("foreground", "background")


class Logit(AnyMethod):
    """Imitates the teacher's outputs: class scores and boxes. For detectors without regions, at every location, with
    the losses of CrossKD (arXiv:2306.11369) but the student's own outputs. For two-stage detectors, the class
    probabilities of the teacher's regions, regions with and without an object apart, as in DeFeat (arXiv:2103.14475).

    Both detectors must be of one kind, or both have two stages. Not known: results of these losses alone at full size;
    the weights of dense detectors are CrossKD's for RetinaNet, those of two-stage detectors DeFeat's.
    """

    weight_fields = {
        "classes": "classes",
        "boxes": "boxes",
        "foreground": "region_foreground",
        "background": "region_background",
    }

    type: Literal["logit"] = "logit"
    classes: float = Field(default=1.0, ge=0)
    """Weight of the class scores at every location of a detector without regions."""
    boxes: float = Field(default=1.0, ge=0)
    """Weight of the boxes at every location."""
    foreground: float = Field(default=2.0, ge=0)
    """Weight of the class probabilities of regions with an object, of two-stage detectors."""
    background: float = Field(default=2.0, ge=0)
    """Weight of the class probabilities of regions without an object."""
    temperature: float = Field(default=1.0, gt=0)
    """Temperature of the probabilities of regions."""

    def terms_for(self, student: AnyDetector) -> Iterator[WeighedTerm]:
        """Yield the terms of regions for a two-stage student, and those of locations for another one."""
        has_regions = isinstance(student, TwoStage)
        yield from (each for each in super().terms_for(student) if (each.field in _OF_REGIONS) == has_regions)

    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        """Yield why this pair cannot be distilled: outputs of other kinds."""
        yield from super().unmet(student, teacher)
        if not isinstance(student, TwoStage):
            yield from lacking(self, "student", student, frozenset({"class_scores"}))
        if not (isinstance(student, TwoStage) and isinstance(teacher, TwoStage)):
            yield from differences(self, student, teacher)
