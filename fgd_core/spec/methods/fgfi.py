"""Fine-grained feature imitation."""

from typing import Annotated, Literal, Self

from pydantic import Field

from fgd_core.spec.detectors import AnyDetector, Gfl, RetinaNet, TwoStage
from fgd_core.spec.methods.base import AnyMethod

_P2_STRIDE_PX, _P3_STRIDE_PX = 4, 8
"""Strides of the finest levels of two-stage and of one-stage detectors."""


class Fgfi(AnyMethod):
    """Fine-grained feature imitation (arXiv:1906.03609): imitates the teacher only near objects, where anchors overlap
    an object at least half as much as the best anchor does. The form for pyramids, with the weight of DeFeat's code.

    Anchors only mark cells here, so detectors without anchors can be students too. Each object counts on one level, by
    its size. Two points differ from the paper's code, which has no pyramid: the loss is divided by the number of
    channels, and the adapter has no ReLU, because maps of a pyramid can be negative.

    Published for COCO, R101 to R50, 2x (measured by FGD, arXiv:2111.11837), as teacher / student alone / distilled:
    Faster R-CNN 39.8 / 38.4 / 39.3; RetinaNet 38.9 / 37.4 / 38.6.
    """

    weight_fields = {"weight": "near_objects"}

    type: Literal["fgfi"] = "fgfi"
    weight: float = Field(default=3.0, ge=0)
    """Weight of the loss of each level. Published for pyramids: 3."""
    threshold: float = Field(default=0.5, ge=0, lt=1)
    """A cell is imitated if one of its anchors overlaps an object by more than this share of the object's best overlap.
    Published: 0.5."""
    anchor_scales: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(8.0,), min_length=1)
    """Side of square anchors in cells of the level. Published: those of the student's head, so 8 for two-stage
    detectors and GFL, and 4, 5.04 and 6.35 for RetinaNet."""
    anchor_ratios: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    """Height over width of anchors of the same area."""
    first_step: int = Field(default=0, ge=0)
    """Number of steps before the distillation starts. The paper's code starts after 400."""

    def published(self, student: AnyDetector, teacher: AnyDetector | None) -> Self:
        """Return the published values, with the anchors of the student's head, if it has any."""
        plain = super().published(student, teacher)
        match student:
            case TwoStage():
                scales = (student.anchor_base_size_px / _P2_STRIDE_PX,)
                return plain.model_copy(update={"anchor_scales": scales})
            case RetinaNet():
                side = student.anchor_base_size_px / _P3_STRIDE_PX
                return plain.model_copy(update={"anchor_scales": tuple(side * 2 ** (n / 3) for n in range(3))})
            case Gfl():
                scales = (student.anchor_base_size_px / _P3_STRIDE_PX,)
                return plain.model_copy(update={"anchor_scales": scales, "anchor_ratios": (1.0,)})
        return plain
