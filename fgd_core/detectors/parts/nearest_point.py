"""Assigns points of a pyramid to objects by distance (RepPoints, arXiv:1904.11490 §3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fgd_core.boxes import centres
from fgd_core.outputs import BACKGROUND

_OBJECT_IN_STRIDES = 4
"""Objects from four to eight strides wide and high belong to the level of that stride."""


def nearest_point_matches(points: Sequence[Tensor], strides: Sequence[int], boxes: Tensor) -> Tensor:
    """Assign to each object one point: the nearest to its centre, on the level of the object's size.

    Distances are in units of the object's own width and height. A point that is nearest to two objects goes to the
    nearer object; the other object gets no point.

    Args:
        points: for each level (locations, 2) xy in pixels; no level is empty.
        strides: of the levels, powers of two.
        boxes: (n, 4) xyxy in pixels; n may be 0.
    Returns:
        (all locations,) int64, the index of the object or BACKGROUND.
    """
    level_of_object = _levels(boxes, strides)  # (n,)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
    matches = []
    for stride, locations in zip(strides, points, strict=True):
        (objects,) = (level_of_object == stride.bit_length() - 1).nonzero(as_tuple=True)
        matches.append(_nearest(locations, centres(boxes)[objects], sides[objects], objects))
    return torch.cat(matches)


def _levels(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """Compute the level of each box (n, 4), as the binary logarithm of its stride: (n,)."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
    level = (sides / _OBJECT_IN_STRIDES).log2().mean(1).int()
    return level.clamp(min(strides).bit_length() - 1, max(strides).bit_length() - 1)


def _nearest(locations: Tensor, object_centres: Tensor, sides: Tensor, objects: Tensor) -> Tensor:
    """Assign the points of one level: (P,).

    Args:
        locations: (P, 2).
        object_centres: (m, 2) of the objects of this level.
        sides: (m, 2) width and height of these objects.
        objects: (m,) their indices.
    """
    if len(objects) == 0:
        return torch.full((len(locations),), BACKGROUND, device=locations.device)
    distances = ((locations[:, None] - object_centres) / sides).norm(dim=2)  # (P, m)
    shortest, nearest = distances.min(0)
    claims = torch.full_like(distances, torch.inf)
    claims[nearest, torch.arange(len(objects), device=locations.device)] = shortest
    closest, winner = claims.min(1)
    return objects[winner].masked_fill(closest.isinf(), BACKGROUND)
