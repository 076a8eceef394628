"""Matches the detections of an image with its true boxes, as COCO does at IoU 0.5, and keeps all overlaps."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fgd_core.data.samples import Sample
from fgd_core.evaluation.columns import Flags, Floats, Integers
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.evaluation.matches import MAX_DETECTIONS
from fgd_core.stopping import stoppable

RIGHT_IOU = 0.5
"""A detection with this overlap or more is in the right place."""
NOTHING = -1


class MatchedImage(NamedTuple):
    """Holds D detections of an image, best first, and its G true boxes, without those of crowds."""

    boxes_xyxy_px: Floats
    """(D, 4)"""
    scores: Floats
    """(D,)"""
    labels: Integers
    """(D,)"""
    truth: Integers
    """(D,) index of the true box of the same class that the detection has found, or -1"""
    is_ignored: Flags
    """(D,) whether the detection lies in a crowd of its class"""
    true_boxes_xyxy_px: Floats
    """(G, 4)"""
    true_labels: Integers
    """(G,)"""
    iou: Floats
    """(D, G)"""

    @property
    def is_right(self) -> Flags:
        """(D,) whether the detection is a true positive."""
        return np.not_equal(self.truth, NOTHING)

    @property
    def is_wrong(self) -> Flags:
        """(D,) whether the detection is a false positive."""
        return ~self.is_right & ~self.is_ignored

    @property
    def is_found(self) -> Flags:
        """(G,) whether a detection has found the true box."""
        found = np.zeros(len(self.true_labels), np.bool_)
        found[self.truth[self.is_right]] = True
        return found


def match_images(samples: Sequence[Sample], detections: Mapping[int, ImageDetections]) -> list[MatchedImage]:
    """Match all images of a split, in the order of `samples`; raises Stopped."""
    return [match_image(sample, detections[sample.image_id]) for sample in stoppable(samples)]


def match_image(sample: Sample, detections: ImageDetections) -> MatchedImage:
    """Match the detections of one image: in the order of scores, each takes the true box that it overlaps most."""
    scores = detections.scores.double().numpy()
    order = np.argsort(-scores, kind="stable")
    order = order[_rank_in_class(detections.labels.numpy()[order]) < MAX_DETECTIONS]
    boxes, labels = detections.boxes_xyxy_px.double().numpy()[order], detections.labels.numpy()[order]
    true_boxes, crowd = sample.boxes_xyxy_px.astype(np.float64), sample.is_crowd
    iou = overlaps(boxes, true_boxes[~crowd])
    truth = _matched(iou * (labels[:, None] == sample.labels[~crowd]))
    in_crowd = overlaps(boxes, true_boxes[crowd], with_regions=True) >= RIGHT_IOU
    in_crowd &= labels[:, None] == sample.labels[crowd]
    is_ignored = in_crowd.any(1) & (truth == NOTHING)
    return MatchedImage(boxes, scores[order], labels, truth, is_ignored, true_boxes[~crowd], sample.labels[~crowd], iou)


def overlaps(boxes: Floats, others: Floats, *, with_regions: bool = False) -> Floats:
    """Compute the IoU of boxes (D, 4) and (G, 4) xyxy: (D, G) in [0, 1].

    Args:
        with_regions: the others are crowds: divide by the area of the first box in place of the union, as COCO does.
    """
    corner = np.maximum(boxes[:, None, :2], others[None, :, :2])
    sides = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - corner
    intersection = sides.clip(min=0).prod(2)
    areas, other_areas = (each[:, 2:] - each[:, :2] for each in (boxes, others))
    area = areas.prod(1)[:, None]
    union = area if with_regions else area + other_areas.prod(1)[None] - intersection
    ratio: Floats = intersection / np.maximum(union, np.finfo(np.float64).tiny)
    return ratio


def _matched(iou: Floats) -> Integers:
    """Match greedily: (D, G) overlaps, zero for pairs that must not match, to (D,) indices or -1."""
    truth = np.full(len(iou), NOTHING)
    if iou.size == 0:
        return truth
    free = iou.copy()
    for index in np.flatnonzero(iou.max(1) >= RIGHT_IOU):
        best = int(free[index].argmax())
        if free[index, best] >= RIGHT_IOU:
            truth[index] = best
            free[:, best] = 0.0
    return truth


def match_any_class(image: MatchedImage, min_score: float) -> Integers:
    """Match detections of at least `min_score` with true boxes of any class: (D,) indices or -1."""
    return _matched(image.iou * (image.scores >= min_score)[:, None])


def _rank_in_class(labels: Integers) -> Integers:
    """Return the place of each detection among those of its class, from 0: (D,) to (D,)."""
    order = np.argsort(labels, kind="stable")
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])
    return ranks
