"""Decoupled feature distillation."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.methods.base import AnyMethod, Unmet
from fgd_core.spec.methods.with_regions import without_regions

Decay: TypeAlias = Literal["none", "linear", "cosine", "up_down"]
"""How the weights change in the course of the training: not at all; in a straight line or a half cosine to 0; up to
twice the weight in the first quarter of the epochs and then in a straight line to 0."""


class Defeat(AnyMethod):
    """Decoupled features (DeFeat, arXiv:2103.14475): imitates the cells inside and outside of objects as two means with
    a weight each, because a mean over all cells is mostly background. Each object counts on one level, by its size.
    Levels that only subsample another one are compared too.

    Published for COCO, R152 to R50, 1x, as teacher / student alone / distilled: Faster R-CNN 41.3 / 37.7 / 40.4, and
    40.8 with the class probabilities of regions as well; RetinaNet 40.5 / not known / 39.5. Not known: the weights for
    COCO. The defaults are those of the authors' configuration for Faster R-CNN on VOC.
    """

    weight_fields = {
        "foreground": "foreground",
        "background": "background",
        "region_foreground": "region_foreground",
        "region_background": "region_background",
    }

    type: Literal["defeat"] = "defeat"
    foreground: float = Field(default=3.0, ge=0)
    """Weight of the loss inside of objects, as a mean over levels. Published for VOC: 3."""
    background: float = Field(default=12.0, ge=0)
    """Weight of the loss outside of objects, as a mean over levels. Published for VOC: 12."""
    region_foreground: float = Field(default=0.0, ge=0)
    """Weight of the class probabilities of the teacher's regions with an object, if both detectors have two stages.
    Published for VOC: 2, but the released code does not use it."""
    region_background: float = Field(default=0.0, ge=0)
    """Weight of the class probabilities of the teacher's regions without an object. Published as the other weight."""
    region_temperature: float = Field(default=1.0, gt=0)
    """Temperature of the probabilities of regions. Published for VOC: 1."""
    decay: Decay = "none"
    """How the weights change in the course of the training. Published: none. `linear` and `cosine` go to 0; `up_down`
    doubles the weights in the first quarter of the epochs and then goes to 0."""

    def unmet(self, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
        """Yield why this pair cannot be distilled: weights of regions that a detector has not got."""
        yield from super().unmet(student, teacher)
        yield from without_regions(self, ("region_foreground", "region_background"), student, teacher)
