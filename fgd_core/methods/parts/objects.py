"""Places the objects of a batch on the levels and the cells of a pyramid."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

_FILLER = -1e6
"""Rows that fill up lie far outside the image, so they cover no cell."""

# Boxes compared with the grid in one step. They take N * 64 * H * W floats of memory; one box a step would be slow.
_BOXES_AT_ONCE = 64

_LARGEST_ON_FINEST_PX = 112
"""Objects of up to this size belong to the finest level, those of up to twice the size to the next level, and so on."""


class Objects(NamedTuple):
    """Holds the boxes of all images of a batch in one tensor."""

    boxes: Tensor
    """(N, most, 4) float32 or float64, xyxy in pixels; `most` is at least 1."""
    exist: Tensor
    """(N, most) bool; False for the rows that fill up an image with fewer objects."""


def stacked(boxes: Sequence[Tensor], device: torch.device) -> Objects:
    """Stack the (n, 4) boxes of each image; n may be 0."""
    most = max([1, *map(len, boxes)])
    # Not in bfloat16, which rounds 801 px to 800 px.
    exact = torch.promote_types(boxes[0].dtype, torch.float32)
    filled = [pad(each.to(device, exact), (0, 0, 0, most - len(each)), value=_FILLER) for each in boxes]
    stack = torch.stack(filled)
    return Objects(stack, stack[..., 0] != _FILLER)


def one_each(boxes: Tensor, exist: Tensor) -> Objects:
    """Give each of n maps at most one object: boxes (n, 4), and whether each exists (n,)."""
    return Objects(boxes.masked_fill(~exist[:, None], _FILLER)[:, None], exist[:, None])


def on_level(objects: Objects, index: int, num_levels: int) -> Objects:
    """Keep the objects that belong to one level by their size: (N, most, 4) boxes, the others no longer exist.

    The rule of DeFeat's code (arXiv:2103.14475), which holds whatever the stride of the finest level: index of the
    level = floor(log2(sqrt((w + 1) (h + 1)) / 56)), with w and h in pixels, and at least 0 and at most the last.
    """
    width, height = (objects.boxes[..., 2:] - objects.boxes[..., :2]).unbind(-1)
    size = ((width + 1) * (height + 1)).clamp(min=1).sqrt()
    level = (size / (_LARGEST_ON_FINEST_PX / 2) + 1e-6).log2().floor().clamp(0, num_levels - 1)
    return objects._replace(exist=objects.exist & (level == index))


@torch.no_grad()
def box_mask(objects: Objects, stride: float, like: Tensor) -> Tensor:
    """Mark the cells of objects.

    A box covers the cells from its first corner up to its last corner, which is excluded, both rounded down. A box
    that covers no cell so, because it is small, covers the cell of its first corner. Source: DeFeat's code.

    Args:
        objects: boxes (N, most, 4) in pixels.
        stride: pixels per cell.
        like: (N, C, H, W); only its shape and type are used.
    Returns:
        (N, H, W), 1 on objects and 0 elsewhere.
    """
    covered = _covered(objects, stride, like)
    return _highest(*(each.inside.to(like.dtype) for each in covered))


@torch.no_grad()
def gaussian_mask(objects: Objects, stride: float, like: Tensor) -> Tensor:
    """Weigh the cells of objects, most at the centre of each; where objects overlap, the largest weight counts.

    If a box covers w columns (see `box_mask`), its column x, from 0 on, has the factor exp(-((x - w/2) / (w/2))^2 / 2),
    and its rows likewise. Source: DeFeat's code, which has the mask of arXiv:2006.13108.

    Args:
        objects: boxes (N, most, 4) in pixels.
        stride: pixels per cell.
        like: (N, C, H, W); only its shape and type are used.
    Returns:
        (N, H, W) in [0, 1]: 1 for an object smaller than a cell, 0 outside of objects.
    """
    covered = _covered(objects, stride, like)
    return _highest(*(each.inside * each.bell.to(like.dtype) for each in covered))


class _Covered(NamedTuple):
    """The cells that boxes cover in one direction, along a map with K cells."""

    inside: Tensor
    """(N, most, K) bool"""
    bell: Tensor
    """(N, most, K) the factors of the Gaussian; 1 for an object without a cell of its own"""


def _covered(objects: Objects, stride: float, like: Tensor) -> tuple[_Covered, _Covered]:
    """Find the rows and the columns that boxes (N, most, 4) cover on a map (N, C, H, W)."""
    height, width = like.shape[2:]
    left, top, right, bottom = (objects.boxes / stride).trunc().unbind(-1)  # (N, most) each
    left, top = left.clamp(min=0), top.clamp(min=0)
    right, bottom = right.clamp(max=width), bottom.clamp(max=height)
    is_small = (left >= right) | (top >= bottom)
    rows = _along(top, bottom, height, objects.exist, is_small)
    return rows, _along(left, right, width, objects.exist, is_small)


def _along(first: Tensor, last: Tensor, num_cells: int, exist: Tensor, is_small: Tensor) -> _Covered:
    """Compare the ends of boxes (N, most) with the cells of one direction."""
    first = first.clamp(max=num_cells - 1)
    last = torch.where(is_small, first + 1, last)
    cells = torch.arange(num_cells, device=first.device)
    inside = (cells >= first[..., None]) & (cells < last[..., None]) & exist[..., None]
    half = (last - first)[..., None] / 2
    bell = torch.exp(-((cells - first[..., None]) / half - 1).square() / 2)
    return _Covered(inside, bell.masked_fill(is_small[..., None], 1))


def _highest(rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply weights of rows (N, most, H) and columns (N, most, W), and take the maximum of all boxes: (N, H, W)."""
    weights = rows.new_zeros(len(rows), rows.shape[2], columns.shape[2])
    for start in range(0, rows.shape[1], _BOXES_AT_ONCE):
        part = slice(start, start + _BOXES_AT_ONCE)
        weights = torch.maximum(weights, (rows[:, part, :, None] * columns[:, part, None, :]).amax(1))
    return weights
