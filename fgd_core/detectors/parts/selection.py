"""Selects the detections of an image from scored locations or boxes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from fgd_core.detectors.base import Detections
from fgd_core.spec.detectors import BoxDetector

CANDIDATES_PER_LEVEL = 1000


def select_detections(
    scores: Sequence[Tensor],
    decode: Callable[[int, Tensor], Tensor],
    image_size: tuple[int, int],
    settings: BoxDetector,
    *,
    factors: Sequence[Tensor] | None = None,
) -> Detections:
    """Select the detections of one image from the scores of every class at every location of every level.

    Args:
        scores: for each level (locations, K) in [0, 1].
        decode: index of a level and (n,) locations of it -> (n, 4) boxes xyxy in pixels of the resized image.
        image_size: (height, width) in pixels, before padding.
        factors: for each level (locations,) in [0, 1]; multiply the scores after the candidates are selected.
    """
    kept_boxes, kept_scores, kept_labels = [], [], []
    for level, level_scores in enumerate(scores):
        flat, num_classes = level_scores.flatten(), level_scores.shape[1]
        candidates = (flat > settings.score_threshold).nonzero().squeeze(1)
        best, order = flat[candidates].topk(min(CANDIDATES_PER_LEVEL, len(candidates)))
        candidates = candidates[order]
        locations = candidates.div(num_classes, rounding_mode="floor")
        kept_boxes.append(decode(level, locations))
        kept_scores.append(best if factors is None else best * factors[level][locations])
        kept_labels.append(candidates % num_classes)
    return nms_per_class(torch.cat(kept_boxes), torch.cat(kept_scores), torch.cat(kept_labels), image_size, settings)


def nms_per_class(
    boxes: Tensor, scores: Tensor, labels: Tensor, image_size: tuple[int, int], settings: BoxDetector
) -> Detections:
    """Clip boxes to the image and apply non-maximum suppression class by class; returns the best, best first.

    Args:
        boxes: (n, 4) xyxy in pixels.
        scores: (n,) in [0, 1].
        labels: (n,)
        image_size: (height, width) in pixels, before padding.
    """
    boxes = clip_boxes_to_image(boxes, image_size)
    keep = batched_nms(boxes, scores, labels, settings.nms_iou_threshold)[: settings.max_detections]
    return Detections(boxes[keep], scores[keep], labels[keep])
