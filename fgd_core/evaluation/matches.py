"""Matches the boxes of a whole split with the true boxes as COCO does, and keeps which detections are right.

COCOeval loops over images, classes, area ranges, overlaps, detections and true boxes. What a detection finds depends
only on the detections with higher scores of the same image and class. So here one step matches the n-th detections of
all images and classes at all overlaps; there are at most 100 steps for each area range.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fgd_core.evaluation.columns import Columns, Flags, Floats, Integers, Objects
from fgd_core.stopping import stoppable

MAX_DETECTIONS = 100
"""Detections of one class in an image that count, those with the highest scores; as for COCO's AP."""
AREAS = ("all", "small", "medium", "large")
OVERLAPS = np.linspace(0.5, 0.95, 10)
_AREAS_PX2 = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])
"""(A, 2) the least and the largest area of each range"""
_PAIRS_AT_ONCE = 1_000_000
"""Limits the memory: a pair takes about 150 bytes."""


class Matches(NamedTuple):
    """Holds the D detections that count and the numbers of true boxes, class by class; A area ranges, T overlaps."""

    image_ids: Integers
    """(I,) in rising order"""
    starts: Integers
    """(K + 1,) detections `starts[k]` to `starts[k + 1]` have label k; best first"""
    image: Integers
    """(D,) index into `image_ids`"""
    scores: Floats
    """(D,)"""
    is_right: Flags
    """(D, A, T)"""
    is_ignored: Flags
    """(D, A, T) neither right nor wrong: in a crowd, or outside of the area range"""
    truth: Integers
    """(D,) number of the true box that a detection finds at IoU 0.5, or -1; the same box has the same number in each
    evaluation of the split"""
    truth_starts: Integers
    """(K + 1,) like `starts`, for the images in which a class has true boxes that count"""
    truth_image: Integers
    """(G,) index into `image_ids`"""
    truth_count: Integers
    """(G, A) number of true boxes that count"""


class _Counted(NamedTuple):
    label: Integers
    """(n,)"""
    image: Integers
    """(n,)"""
    numbers: Integers
    """(n, A)"""


class _Grouped(NamedTuple):
    """Holds objects sorted by class, then image; detections also by score, best first."""

    group: Integers
    """(n,) number of class and image, in rising order"""
    rank: Integers
    """(n,) place in the group, from 0"""
    objects: Objects


class _Pairs(NamedTuple):
    """Holds P pairs of a detection and a true box of the same group that overlap enough for some match."""

    found: Integers
    """(P,)"""
    rank: Integers
    """(P,) of the detection in its group"""
    truth: Integers
    """(P,)"""
    iou: Floats
    """(P,)"""


def match(columns: Columns) -> Matches:
    """Match all boxes at all overlaps and in all area ranges; raises Stopped."""
    num_images = len(columns.image_ids)
    truth, found = (_grouped(objects, num_images) for objects in (columns.truth, columns.found))
    found = _first(found, MAX_DETECTIONS)
    does_not_count = truth.objects.is_crowd[:, None] | _outside(truth.objects.areas_px2)  # (G, A)
    is_matched = np.zeros((len(found.group), len(AREAS), len(OVERLAPS)), np.bool_)
    is_ignored = np.zeros_like(is_matched)
    found_truth = np.full(len(found.group), -1)
    for pairs in stoppable(_pairs(found, truth)):
        for area in range(len(AREAS)):
            for overlap, of_found, of_truth in _claims(pairs, does_not_count[:, area], truth.objects.is_crowd):
                is_matched[of_found, area, overlap] = True
                is_ignored[of_found, area, overlap] = does_not_count[of_truth, area]
                if area == 0:
                    at_first = overlap == 0
                    found_truth[of_found[at_first]] = of_truth[at_first]
    is_ignored |= ~is_matched & _outside(found.objects.areas_px2)[:, :, None]
    order = np.lexsort((-found.objects.scores, found.objects.label))
    counted = _counted(truth, ~does_not_count)
    labels = np.arange(columns.num_classes + 1)
    return Matches(
        image_ids=columns.image_ids,
        starts=np.searchsorted(found.objects.label, labels),
        image=found.objects.image[order],
        scores=found.objects.scores[order],
        is_right=(is_matched & ~is_ignored)[order],
        is_ignored=is_ignored[order],
        truth=found_truth[order],
        truth_starts=np.searchsorted(counted.label, labels),
        truth_image=counted.image,
        truth_count=counted.numbers,
    )


def _grouped(objects: Objects, num_images: int) -> _Grouped:
    order = np.lexsort((-objects.scores, objects.image, objects.label))
    group = (objects.label * num_images + objects.image)[order]
    rank = np.arange(len(group)) - np.searchsorted(group, group)
    return _Grouped(group, rank, _chosen(objects, order))


def _first(grouped: _Grouped, number: int) -> _Grouped:
    """Keep the first detections of each group."""
    kept = np.flatnonzero(grouped.rank < number)
    return _Grouped(grouped.group[kept], grouped.rank[kept], _chosen(grouped.objects, kept))


def _chosen(objects: Objects, places: Integers) -> Objects:
    """Return the boxes at these places, in this order; without masks and keypoints."""
    return Objects(
        image=objects.image[places],
        label=objects.label[places],
        boxes_xywh_px=objects.boxes_xywh_px[places],
        areas_px2=objects.areas_px2[places],
        is_crowd=objects.is_crowd[places],
        scores=objects.scores[places],
        masks=None,
        keypoints=None,
    )


def _outside(areas_px2: Floats) -> Flags:
    """Return whether areas (n,) lie outside of each range: (n, A)."""
    return (areas_px2[:, None] < _AREAS_PX2[:, 0]) | (areas_px2[:, None] > _AREAS_PX2[:, 1])


def _pairs(found: _Grouped, truth: _Grouped) -> Iterator[_Pairs]:
    """Yield the pairs of all groups, some groups at a time."""
    first = np.searchsorted(truth.group, found.group)
    counts = np.searchsorted(truth.group, found.group, side="right") - first
    for low, high in _blocks(found.group, counts):
        number = counts[low:high]
        of_found = np.repeat(np.arange(low, high), number)
        of_truth = np.arange(len(of_found)) + np.repeat(first[low:high] - (np.cumsum(number) - number), number)
        iou = _iou(found.objects, of_found, truth.objects, of_truth)
        near = iou >= OVERLAPS[0]
        yield _Pairs(of_found[near], found.rank[of_found[near]], of_truth[near], iou[near])


def _blocks(group: Integers, counts: Integers) -> Iterator[tuple[int, int]]:
    """Yield ranges of detections with whole groups and about `_PAIRS_AT_ONCE` pairs; `counts` (D,) are pairs."""
    starts = _starts(group)
    pairs_before = (np.cumsum(counts) - counts)[starts]
    cuts = starts[_starts(pairs_before // _PAIRS_AT_ONCE)]
    return pairwise([*cuts.tolist(), len(group)])


def _iou(found: Objects, of_found: Integers, truth: Objects, of_truth: Integers) -> Floats:
    """Compute the IoU of each pair (P,) as pycocotools does; with a crowd, the part of the detection that is in it."""
    box, other = found.boxes_xywh_px[of_found], truth.boxes_xywh_px[of_truth]
    sides = np.minimum(box[:, :2] + box[:, 2:], other[:, :2] + other[:, 2:]) - np.maximum(box[:, :2], other[:, :2])
    intersection = np.where((sides > 0).all(1), sides.prod(1), 0.0)
    area = box[:, 2:].prod(1)
    union = np.where(truth.is_crowd[of_truth], area, area + other[:, 2:].prod(1) - intersection)
    iou: Floats = np.divide(intersection, union, out=np.zeros_like(union), where=intersection > 0)
    return iou


def _claims(pairs: _Pairs, does_not_count: Flags, is_crowd: Flags) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Yield which detections find which true boxes, step by step: overlaps, detections and true boxes, each (n,).

    A detection finds the free box that it overlaps most, the last of equals; a box that does not count only if no other
    is free. A crowd is always free.

    Args:
        does_not_count, is_crowd: (G,) of the true boxes.
    """
    order = np.lexsort((-pairs.truth, -pairs.iou, does_not_count[pairs.truth], pairs.found, pairs.rank))
    found, rank, truth = pairs.found[order], pairs.rank[order], pairs.truth[order]
    enough = pairs.iou[order] >= OVERLAPS[:, None]  # (T, P)
    base = truth.min(initial=len(is_crowd))
    is_free = np.ones((len(OVERLAPS), truth.max(initial=base) + 1 - base), np.bool_)
    for low, high in pairwise([*_starts(rank).tolist(), len(rank)]):
        own = slice(low, high)
        available = enough[:, own] & (is_free[:, truth[own] - base] | is_crowd[truth[own]])
        starts = _starts(found[own])
        places = np.where(available, np.arange(low, high), len(found))
        best = np.minimum.reduceat(places, starts, axis=1)  # (T, detections of this step)
        overlap, step = np.nonzero(best < len(found))
        chosen = best[overlap, step]
        is_free[overlap, truth[chosen] - base] = False
        yield overlap, found[chosen], truth[chosen]


def _counted(truth: _Grouped, counts: Flags) -> _Counted:
    """Count the true boxes of each class in each image, where there are any; `counts` (G, A) are those that count."""
    starts = _starts(truth.group)
    number = np.add.reduceat(counts.astype(np.int64), starts, axis=0)
    kept = number.any(1)
    return _Counted(truth.objects.label[starts][kept], truth.objects.image[starts][kept], number[kept])


def _starts(values: Integers) -> Integers:
    """Return where each run of equal values begins; `values` (n,) are 0 or more."""
    return np.flatnonzero(np.diff(values, prepend=-1))
