"""Computes on boxes and points what torchvision has no function for, or one for which the host waits."""

from typing import NamedTuple

import torch
from torch import Tensor

_LEAST_AREA = 1e-7


def paired_iou(one: Tensor, other: Tensor) -> Tensor:
    """Compute the IoU of each box with the box at the same place: (…, 4) and (…, 4) xyxy to (…,) in [0, 1]."""
    intersection, union = _overlap(one, other)
    return intersection / union.clamp(min=torch.finfo(union.dtype).eps)


def giou_loss(one: Tensor, other: Tensor) -> Tensor:
    """Compute 1 - generalised IoU of each box with the box at the same place: (…, 4) and (…, 4) xyxy to (…,) in [0, 2].

    torchvision's function selects the boxes that overlap, for whose number the host waits in each step.

    Source: arXiv:1902.09630.
    """
    intersection, union = _overlap(one, other)
    hull = _product(torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2]))
    return 1 - (intersection / (union + _LEAST_AREA) - (hull - union) / (hull + _LEAST_AREA))


def centres(boxes: Tensor) -> Tensor:
    """Return the centres of boxes: (…, 4) xyxy to (…, 2) xy."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def distances_to_sides(points: Tensor, boxes: Tensor) -> Tensor:
    """Measure from points (…, 2) to the left, top, right and bottom side of boxes (…, 4); negative outside.

    Returns:
        (…, 4) in the unit of the points.
    """
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def boxes_around(points: Tensor, distances: Tensor) -> Tensor:
    """Build boxes (…, 4) xyxy from points (…, 2) and their distances (…, 4); the inverse of `distances_to_sides`."""
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


class _Overlap(NamedTuple):
    """Holds areas, (…,) each."""

    intersection: Tensor
    union: Tensor


def _overlap(one: Tensor, other: Tensor) -> _Overlap:
    """Compute the areas that two boxes (…, 4) xyxy at the same place share, and that they cover."""
    sides = torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])
    intersection = _product(sides)
    return _Overlap(intersection, _area(one) + _area(other) - intersection)


def _area(boxes: Tensor) -> Tensor:
    """Compute areas: (…, 4) xyxy to (…,)."""
    return _product(boxes[..., 2:] - boxes[..., :2])


def _product(sides: Tensor) -> Tensor:
    """Multiply two sides (…, 2), negative ones as 0: (…,). The gradient of `prod` would wait for the device."""
    width, height = sides.clamp(min=0).unbind(-1)
    return width * height
