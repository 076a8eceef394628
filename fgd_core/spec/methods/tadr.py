"""Task-adaptive distillation with decay."""

from typing import Literal

from pydantic import Field

from fgd_core.spec.methods.base import AnyMethod
from fgd_core.spec.methods.defeat import Decay


class Tadr(AnyMethod):
    """After task-adaptive regularisation (arXiv:2006.13108): imitates the maps around the centres of objects, with a
    Gaussian weight, and less and less in the course of the training. Each object counts on one level, by its size.

    Published for COCO, as teacher / student alone / distilled: Faster R-CNN R101 to R50 38.5 / 36.3 / 39.0. There is no
    public code. Not known: the weights; the default is DeFeat's weight of foreground features.
    """

    weight_fields = ("features",)

    type: Literal["tadr"] = "tadr"
    features: float = Field(default=3.0, ge=0)
    """Weight of the feature loss of each level. The published value is not known."""
    decay: Decay = "linear"
    """How the weights change in the course of the training. Published: linear, so only the task counts at the end.
    `cosine` goes to 0 too; `up_down` doubles the weights in the first quarter of the epochs and then goes to 0."""
