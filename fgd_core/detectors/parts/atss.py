"""Assigns anchors to objects by the statistics of each object's overlaps (ATSS, arXiv:1912.02424 §3.2)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from fgd_core.boxes import centres, distances_to_sides
from fgd_core.outputs import BACKGROUND

_INSIDE_PX = 0.01
_UNCLAIMED = -1.0


class Assignment(NamedTuple):
    """Holds which anchor trains which of n objects."""

    matches: Tensor
    """(anchors of all levels,) int64, the index of the object or BACKGROUND"""
    thresholds: Tensor
    """(n,) the least overlap of an object's anchors: mean plus standard deviation of its candidates"""
    most: int
    """The largest number of anchors that could have an object"""


def assign_atss(anchors: Sequence[Tensor], boxes: Tensor, *, candidates_per_level: int = 9) -> Assignment:
    """Assign anchors to objects.

    The candidates of an object are the anchors nearest to its centre on each level. The object gets the candidates
    whose overlap is at least the mean plus the standard deviation of all its candidates, and whose centre lies inside
    the object. An anchor that two objects claim goes to the object that it overlaps more. An object may get no anchor.

    Args:
        anchors: for each level (locations, 4) xyxy in pixels.
        boxes: (n, 4) xyxy in pixels; n may be 0.
    """
    every_anchor = torch.cat(list(anchors))
    if len(boxes) == 0:
        nothing = torch.full((len(every_anchor),), BACKGROUND, device=every_anchor.device)
        return Assignment(nothing, every_anchor.new_zeros(0), 0)
    overlaps = box_iou(every_anchor, boxes)  # (A, n)
    # Not `cdist`, which computes less exactly for many points.
    distances = (centres(every_anchor)[:, None] - centres(boxes)).norm(dim=2)  # (A, n)
    candidates = _nearest_of_levels(distances, [len(level) for level in anchors], candidates_per_level)  # (c, n)
    overlap = overlaps.gather(0, candidates)
    thresholds = overlap.mean(0) + overlap.std(0)
    is_assigned = (overlap >= thresholds) & _is_inside(centres(every_anchor)[candidates], boxes)

    claims = torch.full_like(overlaps, _UNCLAIMED)
    # The candidates of an object are different anchors.
    claims.scatter_(0, candidates, overlap.masked_fill(~is_assigned, _UNCLAIMED))
    best, winner = claims.max(1)
    most = min(len(every_anchor), candidates.numel())
    return Assignment(winner.masked_fill(best == _UNCLAIMED, BACKGROUND), thresholds, most)


def _nearest_of_levels(distances: Tensor, counts: Sequence[int], candidates_per_level: int) -> Tensor:
    """Select the nearest anchors of each object on each level: (A, n) distances to (c, n) indices of anchors."""
    indices, start = [], 0
    for level in torch.split(distances, list(counts)):
        nearest = level.topk(min(candidates_per_level, len(level)), dim=0, largest=False).indices
        indices.append(start + nearest)
        start += len(level)
    return torch.cat(indices)


def _is_inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Check whether points (c, n, 2) lie inside the boxes (n, 4) of their columns: (c, n)."""
    return distances_to_sides(points, boxes).amin(2) > _INSIDE_PX
