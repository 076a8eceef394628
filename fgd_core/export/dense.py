"""Detects from locations of a pyramid, for all images at once: as `DenseDetector.detect`."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from fgd_core.detectors.parts.dense import DenseDetector
from fgd_core.detectors.parts.selection import CANDIDATES_PER_LEVEL
from fgd_core.export.batched import BatchDetections, Candidates, best_of, clipped, rows_at
from fgd_core.outputs import DenseOutputs


def detect_dense(detector: DenseDetector[DenseOutputs], images: Tensor, image_sizes: Tensor) -> BatchDetections:
    """Detect in images (N, 3, H, W) of (N, 2) height and width in pixels, before padding."""
    out, settings = detector.predict(detector.features(images), ()), detector.settings
    scores, factors = detector.scores(out), detector.factors(out)
    boxes = out.boxes().split_with_sizes(out.counts, dim=1)
    levels = [
        _candidates(own, level_boxes, None if factors is None else factors[level], settings.score_threshold)
        for level, (own, level_boxes) in enumerate(zip(scores, boxes, strict=True))
    ]
    found = Candidates(*(torch.cat(parts, dim=1) for parts in zip(*levels, strict=True)))
    found = found._replace(boxes=clipped(found.boxes, image_sizes))
    return best_of(found, detector.num_classes, settings.nms_iou_threshold, settings.max_detections)


def _candidates(scores: Tensor, boxes: Tensor, factors: Tensor | None, threshold: float) -> Candidates:
    """Select the best locations of a level from scores (N, a, K), boxes (N, a, 4) and factors (N, a)."""
    num_classes = scores.shape[2]
    flat = scores.flatten(1)
    # So many empty rows first: a level may have fewer locations.
    high = pad(torch.where(flat > threshold, flat, 0.0), (0, CANDIDATES_PER_LEVEL))
    best, index = high.topk(CANDIDATES_PER_LEVEL)
    locations = index.div(num_classes, rounding_mode="floor").clamp(max=scores.shape[1] - 1)
    best = best if factors is None else best * factors.gather(1, locations)
    return Candidates(rows_at(boxes, locations), best, index % num_classes)


def all_locations(detector: DenseDetector[DenseOutputs], images: Tensor, image_sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the boxes (N, A, 4), not clipped, and the scores (N, A, K) of all locations of images (N, 3, H, W)."""
    out = detector.predict(detector.features(images), ())
    scores, factors = torch.cat([*detector.scores(out)], dim=1), detector.factors(out)
    return out.boxes(), scores if factors is None else scores * torch.cat([*factors], dim=1)[..., None]
