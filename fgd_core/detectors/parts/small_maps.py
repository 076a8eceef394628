"""Convolutions over maps that are smaller than their kernel, as the top of a pyramid has them for a small image."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class SmallMapConv2d(nn.Conv2d):
    """A convolution that computes in float32 on the CPU, also under autocast, where the map is smaller than the kernel.

    In bfloat16, oneDNN 3.13 (torch 2.15) reads memory that nobody has written when it computes the weight gradient of a
    strided convolution over a map that is one cell wide: P7 of an image of 64 px. The gradient is then NaN or, worse, a
    finite number that means nothing. Which kernel oneDNN takes depends on the processor; what is asked here does not,
    and is wider than the fault that is known: a map of so few cells costs nothing in float32.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        convolve: Callable[[Tensor, Tensor, Tensor | None], Tensor] = super()._conv_forward
        dtype = _autocast_dtype(input)
        if dtype is None or not self._exceeds(input):
            return convolve(input, weight, bias)
        with torch.autocast("cpu", enabled=False):
            return convolve(input.float(), weight, bias).to(dtype)

    def _exceeds(self, features: Tensor) -> bool:
        reach = (spacing * (size - 1) + 1 for size, spacing in zip(self.kernel_size, self.dilation, strict=True))
        return any(cells < needed for cells, needed in zip(features.shape[-2:], reach, strict=True))


def use_float32_on_small_maps(module: M) -> M:
    """Let every plain convolution of `module` be a `SmallMapConv2d`, in place.

    Parameters, their names and PyTorch's generator stay as they are. Many of the convolutions are made by torchvision,
    which takes no other class for them.
    """
    for part in module.modules():
        if type(part) is nn.Conv2d:
            part.__class__ = SmallMapConv2d
    return module


def _autocast_dtype(features: Tensor) -> torch.dtype | None:
    """The type that autocast brings a convolution over `features` to; None where it does not, or not on the CPU."""
    is_cast = features.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if is_cast else None
