"""Convolves maps that are smaller than the kernel, such as the top of the pyramid of a small image."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

M = TypeVar("M", bound=nn.Module)


class SmallMapConv2d(nn.Conv2d):
    """Convolves small maps on the CPU: those smaller than the kernel in float32, also under autocast, and those of one
    cell with the centre of the kernel alone.

    In bfloat16, oneDNN 3.13 (torch 2.15) reads uninitialised memory when it computes the weight gradient of a strided
    convolution over a map that is one cell wide: P7 of an image of 64 px. The gradient is then NaN or a meaningless
    finite number. oneDNN's kernel depends on the processor. The condition here does not, and it covers more than the
    known fault: so few cells cost nothing in float32.

    Over a single cell, a kernel of 3x3 multiplies eight of its nine entries by padding. Without these the convolution
    and its gradients take a third of the time. P6 and P7 of an image of 64 px have one cell each.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve (N, C, H, W) to (N, C_out, H_out, W_out)."""
        convolve: Callable[[Tensor, Tensor, Tensor | None], Tensor] = super()._conv_forward
        if self._reads_only_centre(input):
            row, column = (size // 2 for size in self.kernel_size)
            weight = weight[:, :, row : row + 1, column : column + 1]
            convolve = partial(functional.conv2d, groups=self.groups)
        dtype = _autocast_dtype(input)
        if dtype is None or not self._exceeds_map(input):
            return convolve(input, weight, bias)
        with torch.autocast("cpu", enabled=False):
            return convolve(input.float(), weight, bias).to(dtype)

    def _reads_only_centre(self, features: Tensor) -> bool:
        """Check whether the map (N, C, H, W) is one cell on the CPU, and the kernel is centred on it."""
        return (
            features.device.type == "cpu"
            and features.shape[-2:] == (1, 1)
            and self.padding_mode == "zeros"
            and not isinstance(self.padding, str)
            and all(
                size % 2 == 1 and padding == spacing * (size // 2)
                for size, padding, spacing in zip(self.kernel_size, self.padding, self.dilation, strict=True)
            )
        )

    def _exceeds_map(self, features: Tensor) -> bool:
        """Check whether the kernel is larger than the map (N, C, H, W)."""
        reach = (spacing * (size - 1) + 1 for size, spacing in zip(self.kernel_size, self.dilation, strict=True))
        return any(cells < needed for cells, needed in zip(features.shape[-2:], reach, strict=True))


def use_float32_on_small_maps(module: M) -> M:
    """Turn every plain convolution of `module` into a `SmallMapConv2d`, in place.

    Parameters, their names and the state of PyTorch's generator stay the same. torchvision creates many of these
    convolutions and does not accept another class for them.
    """
    for part in module.modules():
        if type(part) is nn.Conv2d:
            part.__class__ = SmallMapConv2d
    return module


def _autocast_dtype(features: Tensor) -> torch.dtype | None:
    """Return the type that autocast uses to convolve a map (N, C, H, W); None without autocast on the CPU."""
    is_cast = features.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if is_cast else None
