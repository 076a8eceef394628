"""Arithmetic on boxes that torchvision has no function for."""

import torch
from torch import Tensor


def paired_iou(one: Tensor, other: Tensor) -> Tensor:
    """The overlap of each box with the one in the same row: (n, 4) and (n, 4) xyxy to (n,) in [0, 1]."""
    sides = torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])
    intersection = sides.clamp(min=0).prod(1)
    union = _area(one) + _area(other) - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).eps)


def centres(boxes: Tensor) -> Tensor:
    """(n, 4) xyxy to (n, 2) xy."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
