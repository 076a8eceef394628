"""Task-adaptive distillation with decay."""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field

from fgd_core.spec.detectors import AnyDetector, TwoStage
from fgd_core.spec.methods.base import AnyMethod, Unmet
from fgd_core.spec.methods.defeat import Decay
from fgd_core.spec.methods.with_regions import without_regions


class Tadr(AnyMethod):
    """After task-adaptive regularisation (arXiv:2006.13108): imitates the maps around the centres of objects, with a
    Gaussian weight, and less and less in the course of the training. Each object counts on one level, by its size. If
    both detectors have two stages, the published method also imitates class probabilities of regions with an object,
    and the boxes of those regions that the teacher improves.

    Published for COCO, as teacher / student alone / distilled: Faster R-CNN R101 to R50 38.5 / 36.3 / 39.0. There is no
    public code. Not known: the weights; the default is DeFeat's weight of foreground features.
    """

    weight_fields = {"features": "features", "classes": "region_classes", "boxes": "region_boxes"}

    type: Literal["tadr"] = "tadr"
    features: float = Field(default=3.0, ge=0)
    """Weight of the feature loss of each level. The published value is not known."""
    classes: float = Field(default=0.0, ge=0)
    """Weight of the class probabilities of the student's regions with an object, if both detectors have two stages. The
    published value is not known; DeFeat's code has 10."""
    boxes: float = Field(default=0.0, ge=0)
    """Weight of the boxes of the student's regions that the teacher improves. The published value is not known; ours is
    1."""
    decay: Decay = "linear"
    """How the weights change in the course of the training. Published: linear, so only the task counts at the end.
    `cosine` goes to 0 too; `up_down` doubles the weights in the first quarter of the epochs and then goes to 0."""

    def published(self, student: AnyDetector, teacher: AnyDetector | None) -> Self:
        """Return the method with the weights of regions if both detectors have them."""
        plain = super().published(student, teacher)
        if isinstance(student, TwoStage) and isinstance(teacher, TwoStage):
            return plain.model_copy(update={"classes": 10.0, "boxes": 1.0})
        return plain

    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        """Yield why this pair cannot be distilled: weights of regions that a detector has not got."""
        yield from super().unmet(student, teacher)
        yield from without_regions(self, ("classes", "boxes"), student, teacher)
