"""Backbones: what turns an image into maps of stride 4, 8, 16 and 32."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

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


FrozenStages: TypeAlias = Annotated[int, Field(ge=0, le=5)]


class ResNet(Command):
    """A ResNet or ResNeXt with torchvision's names of parameters; the defaults are the published network."""

    name: ResNetName = "resnet50"
    stem_width: int = Field(default=64, ge=4, le=256)
    """Channels of the first convolution; every stage scales with it. 64 is published, 12 to 32 suit a laptop."""
    blocks: tuple[int, int, int, int] | None = None
    """Residual blocks in each stage, where the published depth is too much; for example [1, 1, 1, 1]."""
    norm: Norm = "batch"
    """`frozen_batch` keeps the statistics and affine of pretrained weights; a network from scratch needs `batch`."""
    frozen_stages: FrozenStages = 0
    """How many stages, counted from the stem, get no gradient; torchvision's detectors freeze 2."""
    deformable_stages: tuple[Literal[2, 3, 4, 5], ...] = ()
    """Stages whose 3x3 convolutions are deformable (arXiv:1703.06211); [3, 4, 5] is what the literature calls c3-c5.
    Needs bottlenecks: resnet50 and deeper."""
    deformable_version: Literal["v1", "v2"] = "v1"
    """`v1` moves the points of a deformable convolution, `v2` (arXiv:1811.11168) weighs each of them as well."""
    stride_in: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a bottleneck strides: `3x3` in torchvision and mmdetection's `pytorch` style, `1x1` in its
    `caffe` style. The names and shapes of weights are the same in both, what they compute is not."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.name in ("resnet18", "resnet34"):
            told = [field for field in ("deformable_stages", "stride_in") if self._differs(field)]
            if told:
                raise ValueError(
                    f"{' and '.join(told)} speak of bottlenecks, and the blocks of {self.name} are none; "
                    f"take resnet50 or a deeper one, or leave {' and '.join(told)} out"
                )
        if self.name.startswith("resnext") and self.stem_width < 16:
            raise ValueError(
                f"a group of {self.name} has a sixteenth of the stem's channels, which is none at stem_width "
                f"{self.stem_width}; give it at least 16"
            )
        return self

    def _differs(self, field: str) -> bool:
        return bool(getattr(self, field) != type(self).model_fields[field].default)


MobileNetName: TypeAlias = Literal["mobilenet_v3_large", "mobilenet_v3_small"]


class MobileNet(Command):
    """A MobileNetV3 (arXiv:1905.02244) with torchvision's names of parameters: a light student."""

    name: MobileNetName = "mobilenet_v3_large"
    width_factor: float = Field(default=1.0, ge=0.1, le=2)
    """On the channels of all layers, rounded to multiples of 8; 1 is published."""
    norm: Norm = "batch"
    """`frozen_batch` keeps the statistics and affine of pretrained weights; a network from scratch needs `batch`."""
    frozen_stages: FrozenStages = 0
    """How many stages, counted from the stem, get no gradient; each stage ends where the next one halves the map."""


BackboneSpec: TypeAlias = Annotated[ResNet | MobileNet, Field(discriminator="name")]
"""To add one: a member here, and a row in `fgd_core.detectors.parts.backbones.BODIES`."""
