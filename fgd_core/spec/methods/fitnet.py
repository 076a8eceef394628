"""Imitation of whole feature maps."""

from typing import Literal

from pydantic import Field

from fgd_core.spec.methods.base import AnyMethod


class FitNet(AnyMethod):
    """Feature imitation (FitNets, arXiv:1412.6550): the squared difference of the maps, with the same weight for every
    cell and channel. The simplest method; others are measured against it.

    Published for COCO by LD (arXiv:2102.12252), as teacher / student alone / distilled: GFL R101 to R50 44.9 / 40.1 /
    40.7. Pairs of another kind can lose: FCOS X101 to RetinaNet R50 42.6 / 36.5 / 36.3 (PKD, arXiv:2207.02039). Not
    known: weights of other pairs.
    """

    weight_fields = {"weight": "imitation"}

    type: Literal["fitnet"] = "fitnet"
    weight: float = Field(default=2.0, ge=0)
    """Weight of the loss of each level. LD's configurations weigh the mean with 2; `sum` and `normalise` need another
    weight."""
    reduction: Literal["mean", "sum"] = "mean"
    """`mean`: of all values of a map. `sum`: of all values, divided by the number of images, so that large maps and the
    fine levels count more."""
    normalise: bool = False
    """Divide the map of each image by its L2 norm first, so that only the pattern is compared. With `sum`, this is the
    L2 loss of mmrazor."""
