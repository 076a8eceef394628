"""Backbones: what turns an image into maps of stride 4, 8, 16 and 32."""

from typing import Literal, TypeAlias

from pydantic import Field

from fgd_core.spec.base import Command

ResNetName: TypeAlias = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x4d",
    "resnext101_64x4d",
]
Norm: TypeAlias = Literal["batch", "fixed_batch", "frozen_batch", "synchronised_batch", "group"]
"""`batch` learns all of it, as a network from scratch needs; `fixed_batch` keeps the statistics of pretrained weights
and learns scale and shift, as mmdetection does; `frozen_batch` keeps all four, as torchvision does;
`synchronised_batch` takes its statistics over all GPUs; `group` needs no statistics and suits small batches."""


class ResNet(Command):
    """A ResNet or ResNeXt with torchvision's names of parameters; the defaults are the published network."""

    name: ResNetName = "resnet50"
    stem_width: int = Field(default=64, ge=4, le=256)
    """Channels of the first convolution; every stage scales with it. 64 is published, 12 to 32 suit a laptop."""
    blocks: tuple[int, int, int, int] | None = None
    """Residual blocks in each stage, where the published depth is too much; for example [1, 1, 1, 1]."""
    norm: Norm = "batch"
    """`frozen_batch` keeps the statistics and affine of pretrained weights; a network from scratch needs `batch`."""
    frozen_stages: int = Field(default=0, ge=0, le=5)
    """How many stages, counted from the stem, get no gradient; torchvision's detectors freeze 2."""
    deformable_stages: tuple[Literal[2, 3, 4, 5], ...] = ()
    """Stages whose 3x3 convolutions are deformable (arXiv:1703.06211); [3, 4, 5] is what the literature calls c3-c5.
    Needs bottlenecks: resnet50 and deeper."""
    stride_in: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a bottleneck strides: `3x3` in torchvision and mmdetection's `pytorch` style, `1x1` in its
    `caffe` style. The names and shapes of weights are the same in both, what they compute is not."""


# One member so far. The second makes it `Annotated[ResNet | Other, Field(discriminator="name")]`.
BackboneSpec: TypeAlias = ResNet
