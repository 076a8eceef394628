"""Computes the average precision of many resamples of the images at once, without their boxes.

A resample gives each image a weight: the number of times that it was drawn. The true boxes and the detections of an
image count as often as its weight says; the order of the detections never changes. So each class is sorted once, when
the evaluation writes it, and a resample costs running sums over its detections. With all weights 1 the scores equal
those of pycocotools to 1e-12.

Two observations reduce the work. Between two true positives precision only falls, so only true positives matter. Most
false positives count at every overlap, so they are summed once for all ten.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from fgd_core.statistics.evidence import AREAS, NUM_OVERLAPS, ClassEvidence, Evidence
from fgd_core.statistics.rows import SCORES

Floats: TypeAlias = npt.NDArray[np.floating]

_AT_50, _AT_75 = 0, 5
_ALL, _SMALL = 0, 1
_RECALLS = np.linspace(0.0, 1.0, 101)
# COCOeval tests `hits / boxes >= recall` in float64. Ten of its recalls are a rounding error above k / 100, so
# exactly k hits of 100 boxes do not reach them.
_REACHED_WHEN_EQUAL = np.arange(101) / 100 >= _RECALLS
# Far below the distance to the next attainable recall, far above a rounding error.
_SLACK = {np.dtype(np.float32): 3e-5, np.dtype(np.float64): 1e-8}
# COCOeval adds it, too. Here it also makes 0 / 0 zero, if none of the first detections was drawn.
_TINY = float(np.spacing(1))


def scores(evidence: Evidence, weights: Floats) -> Floats:
    """Compute (S, K, R) `rows.SCORES` of each class and resample; NaN if no true box was drawn.

    Args:
        weights: (I, R) number of draws of each image. float32 suffices for resamples; float64 is exact to 1e-12.
    """
    found = [class_scores(evidence.of_class(place), weights) for place in range(len(evidence.class_names))]
    return np.stack(found, axis=1) if found else np.empty((len(SCORES), 0, weights.shape[1]), weights.dtype)


def overall(per_class: Floats) -> Floats:
    """Average (S, K, R) scores over the classes that are scored, to (S, R); NaN if none is."""
    valid = ~np.isnan(per_class)
    count = valid.sum(axis=1)
    total = np.where(valid, per_class, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(per_class.dtype)


def class_scores(one: ClassEvidence, weights: Floats) -> Floats:
    """Compute (S, R) `rows.SCORES` of one class with weights (I, R)."""
    precision = np.stack([_of_area(one, area, weights) for area in range(len(AREAS))])  # (A, T, R)
    whole, by_size = precision[_ALL], precision[_SMALL:].mean(axis=1)
    return np.stack([whole.mean(axis=0), whole[_AT_50], whole[_AT_75], *by_size])


def _of_area(one: ClassEvidence, area: int, weights: Floats) -> Floats:
    """(T, R) average precision at each overlap, for one range of areas."""
    num_resamples = weights.shape[1]
    boxes = one.truth_count[:, area].astype(weights.dtype) @ weights[one.truth_image]  # (R,)
    found = np.zeros((NUM_OVERLAPS, num_resamples), weights.dtype)
    right, ignored = one.right[area], one.ignored[area]
    places = np.flatnonzero(right.any(axis=0))
    if len(places) and boxes.any():
        end = places[-1] + 1
        everywhere = ~ignored[:, :end].any(axis=0)
        counted_everywhere = _counted_up(one.image, everywhere, places, weights)
        for overlap in range(NUM_OVERLAPS):
            is_right = right[overlap, places]
            if not is_right.any():
                continue
            more = ~ignored[overlap, :end] & ~everywhere
            counted = counted_everywhere[is_right]  # (n, R)
            if more.any():
                counted += _counted_up(one.image, more, places, weights)[is_right]
            hits = _running_sum(weights[one.image[places[is_right]]])
            found[overlap] = _interpolated(hits, counted, boxes)
    found[:, boxes == 0] = np.nan
    return found


def _counted_up(
    image: npt.NDArray[np.intp], counts: npt.NDArray[np.bool_], places: npt.NDArray[np.intp], weights: Floats
) -> Floats:
    """(U, R) weight of the counting detections up to each of the U `places`, inclusive."""
    which = np.flatnonzero(counts)
    segment = np.searchsorted(places, which)
    ones = np.ones(len(which), weights.dtype)
    sums = csr_array((ones, (segment, image[which])), shape=(len(places), len(weights)))
    return _running_sum(sums @ weights)


def _interpolated(hits: Floats, counted: Floats, boxes: Floats) -> Floats:
    """(R,) mean over COCO's 101 recalls of the best precision at that recall or above.

    Args:
        hits: (n, R) weight of the true positives up to each true positive, inclusive.
        counted: (n, R) weight of all counting detections up to there.
    """
    precision = hits / (counted + counted.dtype.type(_TINY))
    for row in range(len(precision) - 2, -1, -1):
        np.maximum(precision[row], precision[row + 1], out=precision[row])
    reached = _recalls_reached(hits, boxes)
    precision[1:] *= reached[1:] - reached[:-1]
    precision[0] *= reached[0]
    return np.asarray(precision.sum(axis=0) / len(_RECALLS))


def _recalls_reached(hits: Floats, boxes: Floats) -> Floats:
    """(n, R) number of the 101 recalls that are at or below the recall of each true positive."""
    slack = _SLACK[hits.dtype]
    # A sound file gives at most 100, but the file came from a run.
    percent = np.minimum(hits * (100 / np.maximum(boxes, 1)).astype(hits.dtype), 100)
    nearest = np.rint(percent).astype(np.uint8)
    shift = np.where(_REACHED_WHEN_EQUAL, slack, -slack).astype(hits.dtype)
    percent += shift[nearest]
    return np.asarray(np.floor(percent, out=percent)) + 1


def _running_sum(rows: Floats) -> Floats:
    # Row by row, because numpy's cumsum takes seven times as long on a thousand columns.
    for row in range(1, len(rows)):
        rows[row] += rows[row - 1]
    return rows
