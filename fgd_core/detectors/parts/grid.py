"""Maps the cells of a feature map to locations in the image, in pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fgd_core.detectors.parts.constants import kept

_PADDED_TO_PX = 32


def grids_of(maps: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Return the size (H, W) of each map (N, C, H, W)."""
    return [(level.shape[2], level.shape[3]) for level in maps]


def corner_points(features: Tensor, stride: int) -> Tensor:
    """Compute the top left corner of every cell, where mmdetection puts points and anchor centres.

    Args:
        features: (N, C, H, W).
    Returns:
        (H W, 2) xy in pixels, row by row.
    """
    return _corners(features.shape[-2], features.shape[-1], stride, features.device)


@kept
def _corners(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """Compute the corners of a grid: (H W, 2) xy in pixels, row by row."""
    ys, xs = torch.meshgrid(
        torch.arange(height, device=device, dtype=torch.float32) * stride,
        torch.arange(width, device=device, dtype=torch.float32) * stride,
        indexing="ij",
    )
    return torch.stack([xs.flatten(), ys.flatten()], dim=1)


def strides_of(points: Sequence[Tensor], strides: Sequence[int]) -> Tensor:
    """Return the stride of each location of levels (a, 2): (A, 1) in pixels."""
    return torch.cat([own.new_full((own.shape[0], 1), stride) for own, stride in zip(points, strides, strict=True)])


def is_batch_padding(points: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Find the locations where only larger images of the batch have pixels; mmdetection does not train there.

    Args:
        points: (P, 2) of `corner_points`.
        image_size: (height, width) in pixels, before padding.
    Returns:
        (P,) bool; false inside the image and its own padding to a multiple of 32.
    """
    height, width = map(_padded, image_size)
    # Numbers, not a tensor of them: the host would wait until it is on the device.
    return (points[:, 0] >= width) | (points[:, 1] >= height)


def grid_inside(grid: tuple[int, int], stride: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns of a grid (H, W) whose corners are not in the batch padding; see `is_batch_padding`.

    They are counted on the host. To select cells by a mask, the host would wait for their number.
    """
    height, width = (min(cells, -(-_padded(side) // stride)) for cells, side in zip(grid, image_size, strict=True))
    return height, width


def _padded(side_px: int) -> int:
    """Return the side of an image with its own padding, in pixels."""
    return -(-side_px // _PADDED_TO_PX) * _PADDED_TO_PX


def flatten_cells(maps: Tensor) -> Tensor:
    """Reshape (N, C, H, W) to (N, H W, C), cells in the order of `corner_points`."""
    return maps.flatten(2).transpose(1, 2)
