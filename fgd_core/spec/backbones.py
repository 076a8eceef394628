"""Backbones: networks that turn an image into feature maps of stride 4, 8, 16 and 32."""

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
"""Normalisation layers. `batch` learns statistics, scale and shift; a network without pretrained weights needs it. Its
statistics are those of the global batch, however many processes share it, so `synchronised_batch` is the same layer.
`fixed_batch` keeps the statistics of pretrained weights and learns scale and shift, as mmdetection does. `frozen_batch`
keeps statistics, scale and shift, as torchvision does. `group` needs no statistics and suits small batches."""


FrozenStages: TypeAlias = Annotated[int, Field(ge=0, le=5)]


class ResNet(Command):
    """A ResNet or ResNeXt whose parameters have torchvision's names. The defaults are the published network."""

    name: ResNetName = "resnet50"
    stem_width: int = Field(default=64, ge=4, le=256)
    """Channels of the first convolution; the width of every stage is proportional to it. Published: 64. On a laptop,
    use 12 to 32."""
    blocks: tuple[int, int, int, int] | None = None
    """Residual blocks in each of the four stages, for example [1, 1, 1, 1]. Default: the published depth."""
    norm: Norm = "batch"
    """Normalisation. `frozen_batch` keeps the statistics, scale and shift of pretrained weights; a network without
    pretrained weights needs `batch`."""
    frozen_stages: FrozenStages = 0
    """Number of stages, counted from the stem, that are not trained. torchvision's detectors freeze 2."""
    deformable_stages: tuple[Literal[2, 3, 4, 5], ...] = ()
    """Stages whose 3x3 convolutions are deformable (arXiv:1703.06211). The literature calls [3, 4, 5] c3-c5. Only
    resnet50 and deeper networks can have them, because their blocks are bottlenecks."""
    deformable_version: Literal["v1", "v2"] = "v1"
    """`v1` learns an offset for each sampling point of a deformable convolution; `v2` (arXiv:1811.11168) also learns a
    weight for each."""
    stride_in: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a bottleneck has the stride: `3x3` in torchvision and in mmdetection's `pytorch` style,
    `1x1` in mmdetection's `caffe` style. Both have weights of the same names and shapes, but they compute different
    maps."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.name in ("resnet18", "resnet34"):
            given = [field for field in ("deformable_stages", "stride_in") if self._differs(field)]
            if given:
                raise ValueError(
                    f"{' and '.join(given)} needs bottleneck blocks, and {self.name} has basic blocks; "
                    f"choose resnet50 or a deeper network, or leave out {' and '.join(given)}"
                )
        if self.name.startswith("resnext") and self.stem_width < 16:
            raise ValueError(
                f"each group of {self.name} gets a sixteenth of the stem's channels, which is less than one channel at "
                f"stem_width {self.stem_width}; set stem_width to at least 16"
            )
        return self

    def _differs(self, field: str) -> bool:
        return bool(getattr(self, field) != type(self).model_fields[field].default)


MobileNetName: TypeAlias = Literal["mobilenet_v3_large", "mobilenet_v3_small"]


class MobileNet(Command):
    """A MobileNetV3 (arXiv:1905.02244) whose parameters have torchvision's names: a small, fast student."""

    name: MobileNetName = "mobilenet_v3_large"
    width_factor: float = Field(default=1.0, ge=0.1, le=2)
    """Factor on the channels of all layers, which are rounded to multiples of 8. Published: 1."""
    norm: Norm = "batch"
    """Normalisation. `frozen_batch` keeps the statistics, scale and shift of pretrained weights; a network without
    pretrained weights needs `batch`."""
    frozen_stages: FrozenStages = 0
    """Number of stages, counted from the stem, that are not trained. A stage ends where the next one halves the map."""


SwinName: TypeAlias = Literal["swin_t", "swin_s"]


class Swin(Command):
    """A Swin Transformer (arXiv:2103.14030) whose parameters have torchvision's names. The map of each stage has a
    layer norm, as in mmdetection. The defaults are the published network."""

    name: SwinName = "swin_t"
    embed_dim: int = Field(default=96, ge=12, le=192, multiple_of=3)
    """Channels of the first stage, a multiple of 3; each further stage has twice as many. Published: 96. On a laptop,
    use 12 to 48."""
    blocks: tuple[int, int, int, int] | None = None
    """Blocks in each of the four stages, for example [2, 2, 2, 2]. Every second block shifts its windows. Default: the
    published depth."""
    window_size: int = Field(default=7, ge=2, le=16)
    """Side of the windows that attention is computed in, in cells. Published: 7. A window of small images may cover
    the whole map of the last stages."""
    drop_path_rate: float = Field(default=0.2, ge=0, lt=1)
    """Probability that training skips the last block for an image; it grows linearly from 0 at the first block.
    mmdetection's detectors: 0.2. torchvision's classifiers: 0.2 for `swin_t` and 0.3 for `swin_s`."""
    frozen_stages: FrozenStages = 0
    """Number of stages, counted from the stem, that are not trained. A stage begins with the layer that halves the map,
    and includes the norm of its map."""


BackboneSpec: TypeAlias = Annotated[ResNet | MobileNet | Swin, Field(discriminator="name")]
"""To add a backbone, add a member here and a row in `fgd_core.detectors.parts.backbones.BODIES`."""
