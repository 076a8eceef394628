"""Builds a pyramid with norms that returns its maps before the last norm."""

from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from fgd_core.detectors.parts.pyramid import Pyramid
from fgd_core.spec.backbones import BackboneSpec


class LateNormPyramid(Pyramid):
    """Computes P3 to P5 from the backbone, P6 from C5 and P7 from P6, with a norm after every convolution.

    The maps are the outputs of the last convolutions; a head uses the maps that `normed` returns. FGD compares the maps
    before the norm. After the norm every group of channels has mean 0 and deviation 1 in both networks, so the strength
    of a map would be lost, and the published loss weights would not fit. The network as a whole computes the same.
    Parameters are named as torchvision names a pyramid with norms: `fpn.layer_blocks.0.0` is a convolution,
    `fpn.layer_blocks.0.1` its norm.
    """

    def __init__(
        self, backbone: BackboneSpec, *, width: int, strides: Sequence[int], norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__(backbone, width=width, strides=strides, top="C5 without ReLU", norm=norm)
        self.fpn.layer_blocks = nn.ModuleList(_LateNorm(*block) for block in self.fpn.layer_blocks)
        self.fpn.extra_blocks = _NormedTop(self.fpn.extra_blocks.p6.in_channels, width, norm)

    def normed(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Apply the last norms: for each level (N, width, H, W), as `maps` returns them, to the same shape."""
        top = cast(_NormedTop, self.fpn.extra_blocks)
        blocks = [*self.fpn.layer_blocks, top.p6, top.p7]
        return [block.norm(level) for block, level in zip(blocks, maps, strict=True)]


class _LateNorm(nn.Sequential):
    """Applies its convolution only; the caller applies the norm."""

    def forward(self, features: Tensor) -> Tensor:
        """Convolve (N, C, H, W) to (N, width, H_out, W_out)."""
        convolved: Tensor = self[0](features)
        return convolved

    def norm(self, convolved: Tensor) -> Tensor:
        """Apply the norm to (N, width, H, W)."""
        normed: Tensor = self[1](convolved)
        return normed


class _NormedTop(ExtraFPNBlock):  # type: ignore[misc]
    """Computes P6 from C5 and P7 from the normed P6."""

    def __init__(self, channels_of_c5: int, width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.p6 = _LateNorm(nn.Conv2d(channels_of_c5, width, 3, stride=2, padding=1, bias=False), norm(width))
        self.p7 = _LateNorm(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False), norm(width))
        for block in (self.p6, self.p7):
            nn.init.kaiming_uniform_(cast(nn.Conv2d, block[0]).weight, a=1)

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Append P6 and P7 to the maps (N, C, H, W) in `p`."""
        p6 = self.p6(c[-1])
        return [*p, p6, self.p7(self.p6.norm(p6))], [*names, "p6", "p7"]
