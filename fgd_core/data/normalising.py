"""Normalises the pixels of a batch on the device that trains."""

from collections.abc import Sequence

import torch
from torch import Tensor

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""ImageNet's RGB mean and deviation of pixel values from 0 to 255, as in training of torchvision's backbones."""


def normalised_pixels(pixels: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Normalise padded images.

    Args:
        pixels: (N, 3, H, W) uint8.
        sizes: (height, width) of each image before padding.
    Returns:
        (N, 3, H, W) float32. Padding is zero: the mean colour, not black. On a GPU the layout is channels-last, which
        its convolutions are fastest with.
    """
    layout = torch.channels_last if pixels.is_cuda else torch.contiguous_format
    images = torch.empty_like(pixels, dtype=torch.float32, memory_format=layout)
    for channel, (mean, deviation) in enumerate(zip(MEAN, STD, strict=True)):
        # With numbers, not with a tensor of them: the host would wait until it is on the device.
        torch.sub(pixels[:, channel], mean, out=images[:, channel]).div_(deviation)
    for image, (height, width) in zip(images, sizes, strict=True):
        image[:, height:] = 0
        image[:, :, width:] = 0
    return images
