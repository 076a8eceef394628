"""Holds the detections of a batch in tensors of fixed sizes, and selects them without a loop over images.

An exported graph cannot loop over the images of a batch of any size, nor return a number of boxes that depends on what
it finds. So each step here works on all images at once, and what a step leaves out gets the score 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.export.suppression import SUPPRESSED

NOTHING = -1
"""The label of a row without a detection."""


class BatchDetections(NamedTuple):
    """Holds D rows for each image, highest score first; rows without a detection have score 0 and label NOTHING."""

    boxes: Tensor
    """(N, D, 4) xyxy in pixels of the resized image"""
    scores: Tensor
    """(N, D) in [0, 1]"""
    labels: Tensor
    """(N, D) int64"""
    masks: Tensor | None = None
    """(N, D, M, M) in [0, 1], stretched over each box; None without masks"""
    heat_maps: Tensor | None = None
    """(N, D, K, M, M) logits of the places of K keypoints, stretched over each box; None without keypoints"""


class Candidates(NamedTuple):
    """Holds n scored boxes for each image."""

    boxes: Tensor
    """(N, n, 4) xyxy in pixels"""
    scores: Tensor
    """(N, n); 0 leaves the box out"""
    labels: Tensor
    """(N, n) int64"""


def best_of(found: Candidates, num_classes: int, iou_threshold: float, count: int) -> BatchDetections:
    """Apply non-maximum suppression class by class, and keep the `count` best boxes of each image."""
    classes = torch.arange(num_classes, device=found.labels.device)[:, None]
    by_class = torch.where(found.labels[:, None] == classes, found.scores[:, None], 0.0)  # (N, K, n)
    return highest(found, SUPPRESSED(found.boxes, by_class, iou_threshold).any(1), count)


def highest(found: Candidates, is_kept: Tensor, count: int) -> BatchDetections:
    """Return the `count` best of the kept candidates of each image.

    Args:
        is_kept: (N, n) bool.
    """
    # So many empty rows first: there may be fewer candidates than `count`.
    scores, index = torch.nn.functional.pad(torch.where(is_kept, found.scores, 0.0), (0, count)).topk(count)
    index = index.clamp(max=found.scores.shape[1] - 1)
    labels = torch.where(scores > 0, found.labels.gather(1, index), NOTHING)
    return BatchDetections(rows_at(found.boxes, index), scores, labels)


def rows_at(values: Tensor, index: Tensor) -> Tensor:
    """Pick rows (N, m) of each image from values (N, n, 4): (N, m, 4)."""
    return values.gather(1, index[..., None].expand(-1, -1, 4))


def grouped(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Split the first dimension of values (n, …) into dimensions of these sizes."""
    return values.reshape(*sizes, *values.shape[1:])


def clipped(boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """Clip boxes (N, …, 4) to their images of (N, 2) height and width in pixels, before padding."""
    limits = image_sizes.to(boxes).flip(1).repeat(1, 2)  # (N, 4)
    return boxes.clamp(min=0).minimum(limits.reshape(-1, *[1] * (boxes.dim() - 2), 4))


def is_large(boxes: Tensor, least_px: float) -> Tensor:
    """Check whether both sides of boxes (…, 4) have at least a length: (…) bool."""
    return ((boxes[..., 2:] - boxes[..., :2]) >= least_px).all(-1)
