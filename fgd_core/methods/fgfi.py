"""Fine-grained feature imitation (arXiv:1906.03609): imitates the cells whose anchors are near an object.

An object belongs to one level by its size. Every cell of the level has anchors of some shapes, centred at the cell's
top left corner. A cell is imitated if one of its anchors overlaps an object by more than half the best overlap of that
object. The loss is that of `masked_difference`. Source: DeFeat's code, which has this form for pyramids.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fgd_core.methods.base import Lesson, LevelPair, Terms
from fgd_core.methods.parts.imitation import masked_difference
from fgd_core.methods.parts.objects import Objects, on_level, stacked
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.per_level import per_level
from fgd_core.spec.methods.fgfi import Fgfi

_OVERLAPS_AT_ONCE = 2**24
"""Boxes times anchors that are compared in one step; their IoU takes 64 MB."""


def anchor_shapes(scales: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Return the width and height of an anchor for each scale and ratio: (K, 2) float64, in cells.

    Args:
        scales: side of the square of the same area, in cells.
        ratios: height over width.
    """
    pairs = itertools.product(scales, map(math.sqrt, ratios))
    return torch.tensor([(scale / root, scale * root) for scale, root in pairs], dtype=torch.float64)


@torch.no_grad()
def anchor_mask(objects: Objects, stride: float, like: Tensor, shapes: Tensor, threshold: float = 0.5) -> Tensor:
    """Mark the cells that have an anchor near an object.

    Args:
        objects: boxes (N, most, 4) in pixels.
        stride: pixels per cell.
        like: (N, C, H, W); only its shape and type are used.
        shapes: (K, 2) width and height in cells of each anchor.
        threshold: a cell is marked if the IoU of an anchor is above this share of the object's best IoU.
    Returns:
        (N, H, W), 1 on marked cells, else 0.
    """
    near = torch.zeros(len(like), *like.shape[2:], dtype=torch.bool, device=like.device)
    boxes, shapes = objects.boxes / stride, shapes.to(objects.boxes)
    at_once = max(1, _OVERLAPS_AT_ONCE // (near.numel() * len(shapes)))
    for start in range(0, boxes.shape[1], at_once):
        part = slice(start, start + at_once)
        iou = _iou(boxes[:, part], near.shape[1:], shapes)  # (N, boxes, K, H, W)
        is_near = (iou > threshold * iou.amax((2, 3, 4), keepdim=True)).any(2)
        near |= (is_near & objects.exist[:, part, None, None]).any(1)
    return near.to(like.dtype)


def _iou(boxes: Tensor, grid: Sequence[int], shapes: Tensor) -> Tensor:
    """Compute the IoU of boxes (N, n, 4) with anchors of shapes (K, 2), all in cells: (N, n, K, H, W)."""
    height, width = (
        _overlap(boxes[..., axis], boxes[..., axis + 2], num_cells, shapes[:, axis])
        for axis, num_cells in zip((1, 0), grid, strict=True)
    )
    common = height[..., :, None] * width[..., None, :]
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)[..., None] + shapes.prod(1)  # (N, n, K)
    return common / (areas[..., None, None] - common)


def _overlap(low: Tensor, high: Tensor, num_cells: int, sizes: Tensor) -> Tensor:
    """Compute the common length of boxes (N, n) and anchors of sizes (K,) in one direction: (N, n, K, cells)."""
    centre = torch.arange(num_cells, device=low.device)
    first, last = centre - sizes[:, None] / 2, centre + sizes[:, None] / 2  # (K, cells)
    return (torch.minimum(high[..., None, None], last) - torch.maximum(low[..., None, None], first)).clamp(min=0)


class FgfiLoss(nn.Module):
    """Imitates one level near objects, through a trained 3x3 convolution of the student."""

    shapes: Tensor

    def __init__(self, method: Fgfi, pair: LevelPair) -> None:
        super().__init__()
        self.adapter = nn.Conv2d(pair.student_channels, pair.teacher_channels, 3, padding=1)
        self._method, self._pair = method, pair
        self.register_buffer("shapes", anchor_shapes(method.anchor_scales, method.anchor_ratios), persistent=False)

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        with in_float32(self.adapter(student), teacher.detach()) as (ours, theirs):
            loss = masked_difference(ours, theirs, self._mask(ours, lesson.targets.boxes))
        is_on = lesson.moment.step >= self._method.first_step
        return Terms({"near_objects": loss}, {"near_objects": self._method.weight * is_on})

    def _mask(self, like: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Mark the cells of a map (N, C, H, W) near the boxes (n, 4) of each image: (N, H, W)."""
        objects = on_level(stacked(boxes, like.device), self._pair.position, self._pair.num_pairs)
        return anchor_mask(objects, self._pair.stride, like, self.shapes, self._method.threshold)


build_fgfi = per_level(FgfiLoss)
