"""A backbone and the feature pyramid on it (arXiv:1612.03144)."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from fgd_core.detectors.base import FeatureLevel
from fgd_core.detectors.parts.backbones import build_body
from fgd_core.spec.backbones import BackboneSpec

Top = Literal["pool", "P5", "C5", "C5 without ReLU", "P5 without ReLU"]
"""What makes the levels above P5: `pool` subsamples P5 to P6; the others make P6 from P5 or from C5 and P7 from P6 by
convolutions, and say whether there is a ReLU before P7."""


class Pyramid(BackboneWithFPN):  # type: ignore[misc]
    """Images to maps, finest first. Parameters are named as torchvision's: `body.…` and `fpn.…`.

    `levels` are the maps that a call returns. Frozen stages get no gradient, and keep their statistics.
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
        """
        Args:
            strides: of the backbone's maps that the pyramid stands on: 4 to 32 or 8 to 32.
            norm: after each convolution of the pyramid.
        """
        body = build_body(backbone)
        super().__init__(
            body.module,
            return_layers={body.output_of(stride): str(index) for index, stride in enumerate(strides)},
            in_channels_list=[body.stage_channels[stride.bit_length() - 3] for stride in strides],
            out_channels=width,
            extra_blocks=_extra_levels(top, body.stage_channels[-1], width),
            norm_layer=norm,
        )
        self.levels = tuple(
            FeatureLevel(f"P{stride.bit_length() - 1}", stride, width, is_derived=top == "pool" and stride == 64)
            for stride in [*strides, *([64] if top == "pool" else [64, 128])]
        )
        self._frozen = [name for stage in body.stages[: backbone.frozen_stages] for name in stage]
        for name in self._frozen:
            self.body[name].requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> "Pyramid":
        super().train(mode)
        for name in self._frozen:  # else the running statistics of a frozen stage would go on moving
            self.body[name].eval()
        return self

    def maps(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) to one (N, width, H / stride, W / stride) for each of `levels`."""
        return list(self(images).values())


class _PlainTop(LastLevelP6P7):  # type: ignore[misc]
    """P7 from P6 without the ReLU between them, as mmdetection's pyramid has it unless told otherwise."""

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        p6 = self.p6(p[-1] if self.use_P5 else c[-1])
        return [*p, p6, self.p7(p6)], [*names, "p6", "p7"]


def _extra_levels(top: Top, channels_of_c5: int, width: int) -> ExtraFPNBlock:
    if top == "pool":
        return LastLevelMaxPool()
    block = _PlainTop if top.endswith("without ReLU") else LastLevelP6P7
    extra = block(channels_of_c5 if top.startswith("C5") else width, width)
    # torchvision tells the two apart by their channels alone, which may be equal.
    extra.use_P5 = top.startswith("P5")
    return extra
