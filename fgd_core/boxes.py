"""Computes on boxes and points what torchvision has no function for."""

import torch
from torch import Tensor


def paired_iou(one: Tensor, other: Tensor) -> Tensor:
    """Compute the IoU of each box with the box in the same row: (n, 4) and (n, 4) xyxy to (n,) in [0, 1]."""
    sides = torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])
    intersection = sides.clamp(min=0).prod(1)
    union = _area(one) + _area(other) - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).eps)


def centres(boxes: Tensor) -> Tensor:
    """Return the centres of boxes: (n, 4) xyxy to (n, 2) xy."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def distances_to_sides(points: Tensor, boxes: Tensor) -> Tensor:
    """Measure from points (…, 2) to the left, top, right and bottom side of boxes (…, 4); negative outside.

    Returns:
        (…, 4) in the unit of the points.
    """
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def boxes_around(points: Tensor, distances: Tensor) -> Tensor:
    """Build boxes (…, 4) xyxy from points (…, 2) and their distances (…, 4); the inverse of `distances_to_sides`."""
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


def _area(boxes: Tensor) -> Tensor:
    """Compute areas: (n, 4) xyxy to (n,)."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
