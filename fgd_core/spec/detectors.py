"""Detectors that can be trained, taught and evaluated."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from fgd_core.spec.backbones import BackboneSpec, ResNet
from fgd_core.spec.base import Command

Convention: TypeAlias = Literal["torchvision", "mmdetection"]
Version: TypeAlias = Literal["v1", "v2"]


class AnyDetector(Command):
    """What every detector says, whatever its kind."""

    backbone: BackboneSpec = ResNet()
    fpn_width: int = Field(default=256, ge=8, le=1024)
    """Channels of every pyramid level and of the heads; 256 is published."""
    score_threshold: float = Field(default=0.05, ge=0, lt=1)
    nms_iou_threshold: float = Field(default=0.5, gt=0, le=1)
    max_detections: int = Field(default=100, ge=1)
    weights: str | None = None
    """Where the first weights come from: torchvision's by name (`ResNet18_Weights.IMAGENET1K_V1` for the backbone,
    `RetinaNet_ResNet50_FPN_Weights.COCO_V1` for all of it), a checkpoint of ours (a path or `job:<id>/best`), a
    checkpoint of mmdetection (a path), or nothing."""


class RetinaNet(AnyDetector):
    """RetinaNet (arXiv:1708.02002) on torchvision's parts: levels P3 to P7, strides 8 to 128."""

    type: Literal["retinanet"] = "retinanet"
    version: Version = "v1"
    """`v2` is torchvision's second: group norm in the heads, P6 from C5, GIoU loss."""
    convention: Convention = "torchvision"
    """Whose details it follows where the two differ: P6 from C5 and P7 without ReLU, anchors of unrounded size, losses
    averaged over the batch in `mmdetection`. Weights of one need its convention."""
    head_norm: Literal["none", "group"] = "none"
    """Normalisation inside the heads: `none` is published, `group` learns much faster where there are no pretrained
    weights; `v2` has `group` whatever is said here."""
    anchor_base_size_px: float = Field(default=32.0, gt=0)
    """Side of the smallest anchor, on P3, in pixels of the resized image; it doubles at each level."""

    @model_validator(mode="after")
    def _second_version_is_torchvisions(self) -> Self:
        if self.version == "v2" and self.convention == "mmdetection":
            raise ValueError("version v2 is torchvision's and mmdetection has none; set convention: torchvision")
        return self


class Gfl(AnyDetector):
    """Generalised Focal Loss (arXiv:2006.04388): levels P3 to P7, strides 8 to 128; scores tell the quality of the box,
    distances are distributions. Follows mmdetection."""

    type: Literal["gfl"] = "gfl"
    nms_iou_threshold: float = Field(default=0.6, gt=0, le=1)
    anchor_scale: float = Field(default=8.0, gt=0)
    """Side of the one square anchor of a cell, in strides of its level; it only decides what is learned where."""
    reg_max: int = Field(default=16, ge=2, le=64)
    """The largest distance from a cell to a side of its object, in strides; a distribution has one bin more."""


DetectorSpec: TypeAlias = Annotated[RetinaNet | Gfl, Field(discriminator="type")]
