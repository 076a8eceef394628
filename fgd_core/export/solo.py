"""Finds masks without boxes for all images at once: as `Solo.detect`."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torchvision.ops import roi_align

from fgd_core.detectors.parts.mask_selection import (
    CELL_PX,
    COMPARED,
    MASK_SIZE,
    SIGMA,
    THRESHOLD,
    boxes_around,
    peak_scores,
)
from fgd_core.detectors.solo import CANDIDATES_PER_LEVEL, CELLS_PX, Solo
from fgd_core.export.batched import NOTHING, BatchDetections, grouped


class _Found(NamedTuple):
    """Holds n masks for each image; a score of 0 leaves the mask out."""

    probabilities: Tensor
    """(N, n, H, W) in [0, 1], at CELL_PX"""
    scores: Tensor
    """(N, n)"""
    labels: Tensor
    """(N, n) int64"""


def detect_masks(detector: Solo, images: Tensor, image_sizes: Tensor) -> BatchDetections:
    """Detect in images (N, 3, H, W) of (N, 2) height and width in pixels, before padding."""
    settings = detector.settings
    compared = _best(_candidates(detector, images), COMPARED)
    scores = compared.scores * _factors(compared)
    scores = torch.where(scores >= settings.score_threshold / 2, scores, 0.0)
    return _cut_to_boxes(_best(compared._replace(scores=scores), settings.max_detections), image_sizes)


def _candidates(detector: Solo, images: Tensor) -> _Found:
    out = detector.predict(detector.features(images), ())
    levels = []
    for level, (logits, features) in enumerate(zip(out.logits, out.mask_features, strict=True)):
        grid = detector.settings.num_grids[level]
        scores, index = _best_cells(logits, grid, detector.settings.score_threshold)
        labels, cells = index.div(grid**2, rounding_mode="floor"), index % grid**2
        predictor = cast(nn.Conv2d, detector.head.conv_mask_list[level])
        masks = _mask_logits(predictor, features, cells).sigmoid()
        masks = interpolate(masks, size=out.mask_sizes[0], mode="bilinear", align_corners=False)
        is_object = masks > THRESHOLD
        areas = is_object.sum((2, 3))
        certainty = (masks * is_object).sum((2, 3)) / areas.clamp(min=1)
        levels.append(_Found(masks, torch.where(areas > 2 * CELLS_PX[level], scores * certainty, 0.0), labels))
    return _Found(*(torch.cat(parts, dim=1) for parts in zip(*levels, strict=True)))


def _best_cells(logits: Tensor, grid: int, threshold: float) -> tuple[Tensor, Tensor]:
    """Select from logits (N, G^2, K) the scores (N, n) of the best cells and classes, and their indices (N, n) in
    (K, G, G). n is the largest number of an image of the batch, but at least 1."""
    scores = logits.sigmoid().transpose(1, 2).reshape(logits.shape[0], -1, grid, grid)  # (N, K, G, G)
    peaks = grouped(peak_scores(scores.flatten(0, 1)), scores.shape[:2]).flatten(1)
    high = pad(torch.where(peaks > threshold, peaks, 0.0), (0, CANDIDATES_PER_LEVEL))
    best, index = high.topk(CANDIDATES_PER_LEVEL)
    # Each candidate costs a whole mask, so the rows that no image needs are left out.
    count = (best > 0).sum(1).amax(0).clamp(min=1).item()
    return best[:, :count], index[:, :count].clamp(max=peaks.shape[1] - 1)


def _mask_logits(predictor: nn.Conv2d, features: Tensor, cells: Tensor) -> Tensor:
    """Compute the masks of cells (N, n) from features (N, C, H, W): (N, n, H, W)."""
    assert predictor.bias is not None
    weights = predictor.weight.flatten(1)[cells]  # (N, n, C)
    masks = weights @ features.flatten(2) + predictor.bias[cells][..., None]
    return masks.reshape(*cells.shape, *features.shape[2:])


def _factors(found: _Found) -> Tensor:
    """Compute the factors (N, n) of matrix NMS; as `matrix_nms_factors`."""
    pixels = (found.probabilities > THRESHOLD).flatten(2).float()
    shared = pixels @ pixels.transpose(1, 2)  # (N, n, n)
    area = pixels.sum(2)
    overlap = shared / (area[:, :, None] + area[:, None] - shared).clamp(min=1)
    is_real = found.scores > 0
    counts = (found.labels[:, :, None] == found.labels[:, None]) & is_real[:, :, None] & is_real[:, None]
    overlap = (overlap * counts).triu(diagonal=1)
    own = overlap.amax(1)
    return torch.exp(-SIGMA * (overlap.square() - own.square()[:, :, None])).amin(1)


def _best(found: _Found, count: int) -> _Found:
    """Return the masks of the highest scores, highest first; at most `count`."""
    order = found.scores.sort(dim=1, descending=True).indices[:, :count]
    masks = found.probabilities.gather(1, order[..., None, None].expand(-1, -1, *found.probabilities.shape[2:]))
    return _Found(masks, found.scores.gather(1, order), found.labels.gather(1, order))


def _cut_to_boxes(found: _Found, image_sizes: Tensor) -> BatchDetections:
    """Find the box around each mask inside its image, and resample the mask to (M, M) over its box."""
    probabilities = _extended(found.probabilities, -(-image_sizes // CELL_PX))
    flat = probabilities.flatten(0, 1)
    scores = torch.where((probabilities > THRESHOLD).any(3).any(2), found.scores, 0.0)
    cells = grouped(boxes_around(flat), scores.shape)
    sizes_px = image_sizes.flip(1).repeat(1, 2)[:, None].to(cells)  # (N, 1, 4)
    cells = cells.minimum(-(-sizes_px // CELL_PX))
    number = torch.arange(flat.shape[0], device=flat.device).to(cells)[:, None]
    masks = roi_align(
        flat[:, None], torch.cat([number, cells.flatten(0, 1)], dim=1), MASK_SIZE, sampling_ratio=1, aligned=True
    )[:, 0]
    labels = torch.where(scores > 0, found.labels, NOTHING)
    return BatchDetections((cells * CELL_PX).minimum(sizes_px), scores, labels, grouped(masks, scores.shape))


def _extended(probabilities: Tensor, sizes: Tensor) -> Tensor:
    """Repeat the last row and the last column inside each image over its padding.

    `Solo.detect` cuts the padding off; sampling beyond a border gives the value at the border.

    Args:
        probabilities: (N, n, H, W).
        sizes: (N, 2) height and width of the images in cells.
    """
    for axis, limit in ((2, sizes[:, 0]), (3, sizes[:, 1])):
        places = torch.arange(probabilities.shape[axis], device=limit.device).minimum(limit[:, None] - 1)  # (N, side)
        shape = [1, 1, 1, 1]
        shape[0], shape[axis] = places.shape
        probabilities = probabilities.gather(axis, places.reshape(shape).expand_as(probabilities))
    return probabilities
