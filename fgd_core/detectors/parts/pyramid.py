"""Builds a backbone with a feature pyramid (arXiv:1612.03144)."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    LastLevelMaxPool,
    LastLevelP6P7,
)

from fgd_core.detectors.base import Detector, Out
from fgd_core.detectors.parts.backbones import build_body
from fgd_core.detectors.parts.body import StageMaps
from fgd_core.outputs import FeatureLevel
from fgd_core.spec.backbones import BackboneSpec

Top = Literal["pool", "P5", "C5", "C5 without ReLU", "P5 without ReLU"]
"""How the levels above P5 are computed: `pool` subsamples P5 to P6. The others compute P6 from P5 or C5, and P7 from
P6, by convolutions, with or without a ReLU before P7."""


class Pyramid(nn.Module):
    """Computes maps from images, finest first. Parameters have torchvision's names: `body.…` and `fpn.…`.

    `levels` describes the maps, and `stages` those of the backbone below. Frozen stages get no gradient and keep their
    statistics.
    """

    def __init__(
        self,
        backbone: BackboneSpec,
        *,
        width: int,
        strides: Sequence[int],
        top: Top,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        """Build the backbone and the pyramid.

        Args:
            width: channels of each map.
            strides: of the backbone's maps that the pyramid uses: 4 to 32 or 8 to 32.
            top: how the levels above P5 are computed.
            norm: builds the norm after each convolution of the pyramid.
        """
        super().__init__()
        body = build_body(backbone)
        self.body = StageMaps(body, strides)
        self.fpn = FeaturePyramidNetwork(
            in_channels_list=[body.stage_channels[stride.bit_length() - 3] for stride in strides],
            out_channels=width,
            extra_blocks=_extra_levels(top, body.stage_channels[-1], width),
            norm_layer=norm,
        )
        self.levels = tuple(
            FeatureLevel(f"P{stride.bit_length() - 1}", stride, width, is_derived=top == "pool" and stride == 64)
            for stride in [*strides, *([64] if top == "pool" else [64, 128])]
        )
        self.stages = tuple(
            FeatureLevel(f"C{n}", 2**n, body.stage_channels[n - 2], is_frozen=backbone.frozen_stages >= n)
            for n in (stride.bit_length() - 1 for stride in strides)
        )
        self._frozen = [name for name in body.first(backbone.frozen_stages) if name in self.body]
        for name in self._frozen:
            self.body[name].requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> "Pyramid":
        """Set the mode; frozen stages stay in eval mode."""
        super().train(mode)
        for name in self._frozen:  # keeps the running statistics
            self.body[name].eval()
        return self

    def maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps: (N, 3, H, W) to (N, width, H / stride, W / stride) for each of `levels`."""
        return self.all_maps(images)[: len(self.levels)]

    def all_maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of `levels`, then those of `stages`: each (N, C, H / stride, W / stride)."""
        stages = self.body(images)
        return [*self.fpn(stages).values(), *stages.values()]


class PyramidDetector(Detector[Out]):
    """Computes its features with the pyramid in `backbone`."""

    backbone: Pyramid

    @property
    def stages(self) -> tuple[FeatureLevel, ...]:
        """The maps of the backbone below the pyramid."""
        return self.backbone.stages

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the maps: (N, 3, H, W), normalised and padded, to (N, C, H / stride, W / stride) for each level."""
        return self.backbone.maps(images)

    def all_maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps (N, C, H / stride, W / stride) of `levels`, then those of `stages`."""
        return self.backbone.all_maps(images)


class _PlainTop(LastLevelP6P7):  # type: ignore[misc]
    """Computes P7 from P6 without a ReLU between them, the default of mmdetection's pyramid."""

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Append P6 and P7 to the maps (N, C, H, W) in `p`."""
        p6 = self.p6(p[-1] if self.use_P5 else c[-1])
        return [*p, p6, self.p7(p6)], [*names, "p6", "p7"]


def _extra_levels(top: Top, channels_of_c5: int, width: int) -> ExtraFPNBlock:
    if top == "pool":
        return LastLevelMaxPool()
    block = _PlainTop if top.endswith("without ReLU") else LastLevelP6P7
    extra = block(channels_of_c5 if top.startswith("C5") else width, width)
    # torchvision decides by the numbers of channels alone, which may be equal.
    extra.use_P5 = top.startswith("P5")
    return extra
