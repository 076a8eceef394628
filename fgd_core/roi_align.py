"""Pools boxes from the maps of any pyramid with RoIAlign (arXiv:1703.06870 §3)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_area, roi_align

from fgd_core.true_entries import numbers_of_true, true_entries

_CANONICAL_SIDE_PX, _CANONICAL_LEVEL = 224, 4
_EPSILON = 1e-6
"""As in torchvision: a box of just the side belongs to the level, whatever the rounding."""


def pool_from_map(
    features: Tensor, boxes: Sequence[Tensor], stride: float, size: int, *, aligned: bool = True
) -> Tensor:
    """Pool boxes from one map, in float32, also under autocast: bfloat16 would lose half a pixel.

    Args:
        features: (N, C, H, W).
        boxes: for each image (n, 4) float32 xyxy in pixels.
        stride: pixels per cell of the map.
        size: of the pooled square in cells.
        aligned: True as in mmdetection: pixel centres are half a pixel off their index, and the number of samples grows
            with the size of a cell. False as in torchvision: no shift, 2 x 2 samples a cell.
    Returns:
        (boxes of all images, C, size, size) float32
    """
    return _pool(features, _rows(boxes), stride, size, aligned=aligned)


def pool_from_pyramid(
    maps: Sequence[Tensor], boxes: Sequence[Tensor], strides: Sequence[int], size: int, *, aligned: bool = True
) -> Tensor:
    """Pool each box from the map of its size.

    Args:
        maps: for each level (N, C, H, W), finest first; there may be more maps than strides.
        boxes: for each image (n, 4) float32 xyxy in pixels.
        strides: of the levels that are used, powers of two.
        size: of the pooled square in cells.
        aligned: as of `pool_from_map`.
    Returns:
        (boxes of all images, C, size, size) float32
    """
    return pool_rows(maps, _rows(boxes), strides, size, aligned=aligned)


def pool_rows(
    maps: Sequence[Tensor], rows: Tensor, strides: Sequence[int], size: int, *, aligned: bool = True
) -> Tensor:
    """Pool each box from the map of its size; arguments as of `pool_from_pyramid`.

    Args:
        rows: (n, 5) float32, the index of the image before each box.
    Returns:
        (n, C, size, size) float32
    """
    levels = levels_of([rows[:, 1:]], strides)
    is_on = [levels == level for level in range(len(strides))]
    # An exported graph finds the numbers itself, for any boxes.
    numbers = [None] * len(strides) if torch.compiler.is_compiling() else numbers_of_true(is_on)
    pooled = rows.new_zeros((rows.shape[0], maps[0].shape[1], size, size))
    for features, stride, mask, number in zip(maps, strides, is_on, numbers, strict=False):
        on_level = true_entries(mask, number)
        pooled[on_level] = _pool(features, rows[on_level], stride, size, aligned=aligned)
    return pooled


def levels_of(boxes: Sequence[Tensor], strides: Sequence[int]) -> Tensor:
    """Return the level of each box: (boxes of all images,) int64 indices of `strides`.

    A box of 224 px belongs to stride 16, a box of twice the side to twice the stride, within the given strides.

    Args:
        boxes: for each image (n, 4) xyxy in pixels.
        strides: consecutive powers of two, finest first.
    Source: equation 1 of arXiv:1612.03144.
    """
    sides = torch.cat([box_area(own) for own in boxes]).sqrt()
    levels = torch.floor(_CANONICAL_LEVEL + torch.log2(sides / _CANONICAL_SIDE_PX) + _EPSILON)
    first, last = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
    return levels.clamp(first, last).long() - first


def _rows(boxes: Sequence[Tensor]) -> Tensor:
    """Join the boxes (n, 4) of all images: (boxes, 5), the index of the image before each box."""
    image = torch.cat([own.new_full((len(own), 1), index) for index, own in enumerate(boxes)])
    return torch.cat([image, torch.cat(list(boxes))], dim=1)


def _pool(features: Tensor, rows: Tensor, stride: float, size: int, *, aligned: bool) -> Tensor:
    """Pool rows (n, 5) from (N, C, H, W): (n, C, size, size)."""
    with torch.autocast(rows.device.type, enabled=False):
        pooled: Tensor = roi_align(
            features.float(),
            rows,
            size,
            spatial_scale=1 / stride,
            sampling_ratio=0 if aligned else 2,
            aligned=aligned,
        )
    return pooled
