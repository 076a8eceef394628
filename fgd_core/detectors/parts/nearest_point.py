"""Which point of a pyramid starts from which object (RepPoints, arXiv:1904.11490 §3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fgd_core.detectors.parts.assignment import BACKGROUND
from fgd_core.detectors.parts.boxes import centres

_OBJECT_IN_STRIDES = 4
"""An object four strides wide and high belongs to the level of that stride; so do those up to twice as large."""


def nearest_point_matches(points: Sequence[Tensor], strides: Sequence[int], boxes: Tensor) -> Tensor:
    """Give each object one point: on the level of its size, the one nearest to its centre.

    Distances are measured in the object's own width and height. A point that two objects want goes to the one that it
    is nearer to; the other gets none.

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
    """(n,) the binary logarithm of the stride that suits each object."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
    wanted = (sides / _OBJECT_IN_STRIDES).log2().mean(1).int()
    return wanted.clamp(min(strides).bit_length() - 1, max(strides).bit_length() - 1)


def _nearest(locations: Tensor, object_centres: Tensor, sides: Tensor, objects: Tensor) -> Tensor:
    """The matches of one level.

    Args:
        locations: (P, 2).
        object_centres, sides: (m, 2) of the objects of this level, `objects` (m,) their indices.
    """
    if len(objects) == 0:
        return torch.full((len(locations),), BACKGROUND, device=locations.device)
    distances = ((locations[:, None] - object_centres) / sides).norm(dim=2)  # (P, m)
    shortest, nearest = distances.min(0)
    claims = torch.full_like(distances, torch.inf)
    claims[nearest, torch.arange(len(objects), device=locations.device)] = shortest
    closest, winner = claims.min(1)
    return objects[winner].masked_fill(closest.isinf(), BACKGROUND)
