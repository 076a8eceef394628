"""The locations of a feature map, in pixels of the image."""

import torch
from torch import Tensor

_PADDED_TO_PX = 32


def corner_points(features: Tensor, stride: int) -> Tensor:
    """The top left corner of every cell, as mmdetection locations points and the centres of anchors.

    Args:
        features: (N, C, H, W).
    Returns:
        (H W, 2) xy in pixels, row by row.
    """
    height, width = features.shape[-2:]
    ys, xs = torch.meshgrid(
        torch.arange(height, device=features.device, dtype=torch.float32) * stride,
        torch.arange(width, device=features.device, dtype=torch.float32) * stride,
        indexing="ij",
    )
    return torch.stack([xs.flatten(), ys.flatten()], dim=1)


def is_batch_padding(points: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Which locations stand where only larger images of the batch have pixels: mmdetection learns nothing there.

    Args:
        points: (P, 2) of `corner_points`.
        image_size: (height, width) in pixels, before padding.
    Returns:
        (P,) bool; false within the image and its own padding.
    """
    height, width = (-(-side // _PADDED_TO_PX) * _PADDED_TO_PX for side in image_size)
    return (points >= points.new_tensor([width, height])).any(1)


def flatten_cells(maps: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H W, C): the locations in the order of `corner_points`."""
    return maps.flatten(2).transpose(1, 2)
