"""Detectors that can be trained, taught and evaluated."""

from typing import Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command

BackboneName: TypeAlias = Literal["resnet18", "resnet34", "resnet50", "resnet101"]


class ResNet(Command):
    """A torchvision ResNet; the defaults are the published network."""

    name: BackboneName = "resnet50"
    stem_width: int = Field(default=64, ge=4, le=256)
    """Channels of the first convolution; every stage scales with it. 64 is published, 12 to 32 suit a laptop."""
    blocks: tuple[int, int, int, int] | None = None
    """Residual blocks in each stage, where the published depth is too much; for example [1, 1, 1, 1]."""
    batch_norm: Literal["frozen", "trainable"] = "trainable"
    """`frozen` keeps the statistics and affine of pretrained weights; a network from scratch needs `trainable`."""
    frozen_stages: int = Field(default=0, ge=0, le=5)
    """How many stages, counted from the stem, get no gradient; torchvision's detectors freeze 2."""


class RetinaNet(Command):
    """RetinaNet (arXiv:1708.02002) on torchvision's parts: levels P3 to P7, strides 8 to 128."""

    type: Literal["retinanet"] = "retinanet"
    backbone: ResNet = ResNet()
    fpn_width: int = Field(default=256, ge=8, le=1024)
    """Channels of every pyramid level and of the heads; 256 is published."""
    head_norm: Literal["none", "group"] = "none"
    """Normalisation inside the heads: `none` is published, `group` (as in torchvision's second RetinaNet) learns much
    faster where there are no pretrained weights."""
    anchor_base_size_px: float = Field(default=32.0, gt=0)
    """Side of the smallest anchor, on P3, in pixels of the resized image; it doubles at each level."""
    score_threshold: float = Field(default=0.05, ge=0, lt=1)
    nms_iou_threshold: float = Field(default=0.5, gt=0, le=1)
    max_detections: int = Field(default=100, ge=1)
    weights: str | None = None
    """Where the first weights come from: torchvision's by name (`ResNet18_Weights.IMAGENET1K_V1` for the backbone,
    `RetinaNet_ResNet50_FPN_Weights.COCO_V1` for all of it), a checkpoint of ours (a path or `job:<id>/best`), or
    nothing."""


# One member so far. The second makes it `Annotated[RetinaNet | Other, Field(discriminator="type")]`.
DetectorSpec: TypeAlias = RetinaNet
