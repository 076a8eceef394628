"""Decoupled feature distillation."""

from typing import Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.methods.base import AnyMethod

Decay: TypeAlias = Literal["none", "linear", "cosine", "up_down"]
"""How the weights change in the course of the training: not at all; in a straight line or a half cosine to 0; up to
twice the weight in the first quarter of the epochs and then in a straight line to 0."""


class Defeat(AnyMethod):
    """Decoupled features (DeFeat, arXiv:2103.14475): imitates the cells inside and outside of objects as two means with
    a weight each, because a mean over all cells is mostly background. Each object counts on one level, by its size.
    Levels that only subsample another one are compared too.

    Published for COCO, R152 to R50, 1x, as teacher / student alone / distilled: Faster R-CNN 41.3 / 37.7 / 40.4;
    RetinaNet 40.5 / not known / 39.5. Not known: the weights for COCO. The defaults are those of the authors'
    configuration for Faster R-CNN on VOC.
    """

    weight_fields = ("foreground", "background")

    type: Literal["defeat"] = "defeat"
    foreground: float = Field(default=3.0, ge=0)
    """Weight of the loss inside of objects, as a mean over levels. Published for VOC: 3."""
    background: float = Field(default=12.0, ge=0)
    """Weight of the loss outside of objects, as a mean over levels. Published for VOC: 12."""
    decay: Decay = "none"
    """How the weights change in the course of the training. Published: none. `linear` and `cosine` go to 0; `up_down`
    doubles the weights in the first quarter of the epochs and then goes to 0."""
