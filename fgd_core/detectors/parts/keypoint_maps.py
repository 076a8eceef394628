"""Converts keypoints to cells of the heat maps of their regions, and heat maps to keypoints, as torchvision does."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fgd_core.ranks import divisor

_IGNORED = -1


class KeypointOutputs(NamedTuple):
    """Holds the heat maps of the m regions with an object, image by image."""

    logits: Tensor
    """(m, K, M, M) float32: how likely each cell of a region is the place of each of K keypoints."""
    true_cells: Tensor
    """(m, K) int64: row x M + column of the true cell; -1 for a keypoint that is not labelled or outside the region."""


@torch.no_grad()
def cells_of_keypoints(keypoints: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Find the cell of each keypoint in the heat map of its region: the target of a keypoint head.

    Args:
        keypoints: (n, K, 3) x and y in pixels, and visibility.
        boxes: (n, 4) xyxy in pixels, the regions.
        size: of the heat map in cells.
    Returns:
        (n, K) int64: row x size + column; -1 for a keypoint that is not labelled or outside the region.
    """
    corners, ends = boxes[:, None, :2], boxes[:, None, 2:]
    places = keypoints[..., :2]
    cells = ((places - corners) * (size / (ends - corners))).floor().long()
    # A keypoint on the right or lower edge belongs to the last cell.
    cells = torch.where(places == ends, size - 1, cells)
    column, row = cells.unbind(-1)
    is_inside = ((cells >= 0) & (cells < size)).all(-1)
    return (row * size + column).masked_fill(~is_inside | (keypoints[..., 2] <= 0), _IGNORED)


def keypoint_loss(keypoints: KeypointOutputs) -> Tensor:
    """Average the cross entropy over the labelled keypoints: scalar (); zero with zero gradients if there are none."""
    logits, cells = keypoints.logits, keypoints.true_cells
    with torch.autocast(logits.device.type, enabled=False):
        total = F.cross_entropy(
            logits.flatten(0, 1).flatten(1), cells.flatten(), ignore_index=_IGNORED, reduction="sum"
        )
        return total / divisor((cells != _IGNORED).sum())


def locate(logits: Tensor, boxes: Tensor) -> Tensor:
    """Find each keypoint at the maximum of its heat map, which is stretched over its region with bicubic sampling.

    Args:
        logits: (n, K, M, M) float32.
        boxes: (n, 4) xyxy in pixels, the regions.
    Returns:
        (n, K, 3): x and y in pixels, and the logit there.
    """
    if len(boxes) == 0:
        return logits.new_zeros((0, logits.shape[1], 3))
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    # One region after the other: each has its own size in pixels.
    return torch.stack([_locate_one(*each) for each in zip(logits, boxes[:, :2], sides, strict=True)])


def _locate_one(logits: Tensor, corner: Tensor, sides: Tensor) -> Tensor:
    """Find the keypoints of one region.

    Args:
        logits: (K, M, M)
        corner: (2,) x and y of the upper left corner in pixels.
        sides: (2,) width and height in pixels.
    Returns:
        (K, 3)
    """
    width, height = (int(side) for side in sides.ceil().tolist())
    stretched = F.interpolate(logits[:, None], size=(height, width), mode="bicubic", align_corners=False)[:, 0]
    best, place = stretched.flatten(1).max(1)
    pixels = torch.stack([place % width, place.div(width, rounding_mode="floor")], dim=1)
    whole = sides.new_tensor([width, height])
    return torch.cat([(pixels + 0.5) * (sides / whole) + corner, best[:, None]], dim=1)
