"""General detector distillation with semantic-guided features and contrast."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from fgd_core.spec.detectors import AnyDetector, TwoStage
from fgd_core.spec.methods.base import AnyMethod, Unmet, WeighedTerm

_OF_TWO_STAGES = ("classes", "boxes")


class GDetKd(AnyMethod):
    """G-DetKD (arXiv:2108.07482): imitates the features of regions, with learned weights of the student's levels, and
    contrasts the regions' last hidden vectors. The teacher has two stages. The student may be of any kind with a head
    that can be cut in two; two-stage students also imitate class probabilities and boxes.

    Published for COCO, as student alone / distilled: Faster R-CNN R50 37.4 / 41.0 from a teacher of the same kind. From
    Faster R-CNN X101, distilled: Faster R-CNN R50 44.0, RetinaNet R50 43.3, FCOS R50 43.1.

    Not known, because the authors published no code: the size of the memory and the start of the temperatures. The
    values here are ours or of the re-implementation in HEAD. The published total is the unweighted sum of the terms.
    """

    teacher_needs = frozenset({"regions"})
    weight_fields = {"features": "features", "contrast": "contrast", "classes": "classes", "boxes": "boxes"}

    type: Literal["gdetkd"] = "gdetkd"
    features: float = Field(default=1.0, ge=0)
    """Weight of the features of regions."""
    contrast: float = Field(default=1.0, ge=0)
    """Weight of the contrast of vectors. Published: 1; 0.5 in HEAD."""
    classes: float = Field(default=1.0, ge=0)
    """Weight of the class probabilities, if the student has two stages."""
    boxes: float = Field(default=1.0, ge=0)
    """Weight of the boxes, if the student has two stages."""
    contrast_temperature: float = Field(default=0.07, gt=0)
    """Divides the cosines of vectors."""
    memory: int = Field(default=4096, ge=0)
    """Number of the teacher's vectors of earlier steps that serve as further negatives. While the memory fills, in the
    first steps, the contrast rises, because a choice among more vectors is harder."""
    regions_per_image: int = Field(default=128, ge=4, le=2048)
    """Predicted boxes that a step compares in an image, if the student proposes no regions: at most a quarter of them
    on objects."""

    def terms_for(self, student: AnyDetector) -> Iterator[WeighedTerm]:
        """Yield the terms that have a weight; class probabilities and boxes only if the student has two stages."""
        has_regions = isinstance(student, TwoStage)
        yield from (each for each in super().terms_for(student) if has_regions or each.field not in _OF_TWO_STAGES)

    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        """Yield why this pair cannot be distilled: a teacher without regions, or a student without vectors."""
        yield from super().unmet(student, teacher)
        if not student.offers & {"regions", "towers"}:
            yield Unmet(
                "student",
                f"method gdetkd contrasts hidden vectors of the head, and the student {student.name()} shows none; "
                "choose retinanet, fcos, gfl or a two-stage detector, or another method",
            )
