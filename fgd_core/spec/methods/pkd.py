"""Pearson knowledge distillation."""

from typing import Literal, Self

from pydantic import Field

from fgd_core.spec.detectors import AnyDetector, TwoStage
from fgd_core.spec.methods.base import AnyMethod

_PUBLISHED_LEVELS = 4


class Pkd(AnyMethod):
    """Pearson distillation (arXiv:2207.02039): imitates the pattern of each channel, whatever its mean and size. Suits
    teachers of another kind. The default weight is the published one for one-stage teachers.

    Published for COCO in mmrazor's configurations, as teacher / student alone / distilled: Faster R-CNN R101 to R50
    39.8 / 38.4 / 40.3; Mask R-CNN Swin-S to RetinaNet R50 48.2 / 37.4 / 41.5; RepPoints X101 to R50 44.2 / 38.6 / 42.3;
    RetinaNet X101 to R50 41.0 / 37.4 / 40.8.
    """

    weight_fields = {"weight": "pearson"}
    students_of_recipes = frozenset({"faster_rcnn", "reppoints", "retinanet"})

    type: Literal["pkd"] = "pkd"
    weight: float = Field(default=10.0, ge=0)
    """Weight of the loss of each level. Published: 10, and 6 if the teacher has two stages."""
    pairing: Literal["stride", "index"] = "stride"
    """Which levels are compared. `stride`: those whose cells have the same size. `index`: the finest with the finest,
    and so on, as published; the smaller map of a pair is then interpolated."""
    levels: int | None = Field(default=_PUBLISHED_LEVELS, ge=1)
    """Number of levels that are compared, from the finest on. Published: 4. None: all."""

    def published(self, student: AnyDetector, teacher: AnyDetector | None) -> Self:
        """Return the published weight for the teacher's kind of detector."""
        return (
            super()
            .published(student, teacher)
            .model_copy(update={"weight": 6.0 if isinstance(teacher, TwoStage) else 10.0})
        )
