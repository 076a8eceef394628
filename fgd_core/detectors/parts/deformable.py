"""Deformable convolutions (arXiv:1703.06211), with or without modulation (arXiv:1811.11168), on torchvision's op."""

import torch
import torchvision.ops
from torch import Tensor, nn


class DeformConv2d(torchvision.ops.DeformConv2d):  # type: ignore[misc]
    """Convolves at given offsets.

    Computes in float32, also under autocast: the op does not support bfloat16 on the CPU, and 8 bits of mantissa leave
    no fraction for a position in the hundreds.
    """

    def forward(self, features: Tensor, offsets: Tensor, mask: Tensor | None = None) -> Tensor:
        """Convolve with a shifted sampling point for each cell of the kernel.

        Args:
            features: (N, C, H, W).
            offsets: (N, 2 k k, H_out, W_out) in cells of `features`: (dy, dx) of each kernel point, row by row, from
                the point that a plain convolution would sample.
            mask: (N, k k, H_out, W_out), a factor for the value at each point; None is 1.
        Returns:
            (N, C_out, H_out, W_out) in the type of `features`.
        """
        with torch.autocast(features.device.type, enabled=False):
            exact = torch.promote_types(features.dtype, torch.float32)
            weight = self.weight.to(exact)
            bias = self.bias.to(exact) if self.bias is not None else None
            output: Tensor = torchvision.ops.deform_conv2d(
                features.to(exact),
                offsets.to(exact),
                weight,
                bias,
                stride=self.stride,
                padding=self.padding,
                dilation=self.dilation,
                mask=mask.to(exact) if mask is not None else None,
            )
        return output.to(features.dtype)


class SelfDeformingConv2d(DeformConv2d):
    """Computes its offsets from its own input with a plain convolution, `conv_offset`.

    The offsets start at zero, so a new module computes the same as `like`; a modulated one computes half, because the
    mask is a sigmoid. Names and layout of the parameters are mmdetection's: the 2 k k offsets come first, then the k k
    logits of the mask.

    Args:
        like: the convolution whose geometry and weights this module uses; the weights are shared, not copied.
    """

    def __init__(self, like: nn.Conv2d, *, modulated: bool) -> None:
        kernel, stride = _pair(like.kernel_size), _pair(like.stride)
        padding, dilation = _pair(like.padding), _pair(like.dilation)
        super().__init__(
            like.in_channels,
            like.out_channels,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=like.groups,
            bias=like.bias is not None,
        )
        self.weight, self.bias = like.weight, like.bias
        self.num_points = kernel[0] * kernel[1]
        self.modulated = modulated
        self.conv_offset = nn.Conv2d(
            like.in_channels,
            (3 if modulated else 2) * self.num_points,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
        )
        nn.init.zeros_(self.conv_offset.weight)
        assert self.conv_offset.bias is not None
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        """Convolve (N, C, H, W) to (N, C_out, H_out, W_out)."""
        with torch.autocast(features.device.type, enabled=False):
            exact = features.to(torch.promote_types(features.dtype, torch.float32))
            outputs: Tensor = self.conv_offset(exact)
        offsets = outputs[:, : 2 * self.num_points]
        mask = outputs[:, 2 * self.num_points :].sigmoid() if self.modulated else None
        return super().forward(features, offsets, mask)


def _pair(sizes: str | tuple[int, ...]) -> tuple[int, int]:
    """Narrow PyTorch's type: a 2D convolution has two sizes, and padding is never given by name here."""
    assert not isinstance(sizes, str)
    height, width = sizes
    return height, width
