"""Feature-based knowledge distillation with attention and non-local relations."""

from typing import Literal

from pydantic import Field

from fgd_core.spec.methods.base import AnyMethod


class Fbkd(AnyMethod):
    """Feature-based distillation (FKD, ICLR 2021): imitates the maps where student
    and teacher are active, their means over space and over channels, and their relations between all pairs of cells.

    Published for COCO, R101 to R50, as student alone / distilled: Faster R-CNN 37.4 / 39.3 (1x, mmrazor) and 38.4 /
    40.2 (2x); RetinaNet 37.4 / 39.3 (2x). Each loss is the norm of a whole batch's difference, so it depends on the
    batch size; the published weights suit images of 800x1333 pixels.
    """

    weight_fields = {"masked": "masked", "channel": "channel", "spatial": "spatial", "relation": "relation"}

    type: Literal["fbkd"] = "fbkd"
    masked: float = Field(default=7e-5, ge=0)
    """Weight of the difference of the maps, weighed by the spatial attention."""
    channel: float = Field(default=4e-3, ge=0)
    """Weight of the difference of the means over space."""
    spatial: float = Field(default=4e-3, ge=0)
    """Weight of the difference of the means over channels."""
    relation: float = Field(default=7e-5, ge=0)
    """Weight of the difference of the outputs of the non-local blocks."""
    temperature: float = Field(default=0.5, gt=0)
    """Temperature of the spatial attention."""
