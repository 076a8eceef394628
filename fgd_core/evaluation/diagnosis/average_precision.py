"""Computes AP from detections that are already judged, as COCO does: precision at 101 recalls."""

from itertools import pairwise

import numpy as np

from fgd_core.evaluation.columns import Flags, Floats, Integers
from fgd_core.evaluation.matches import Matches

_ALL_AREAS = 0
RECALLS = np.linspace(0.0, 1.0, 101)


def average_precision(scores: Floats, is_right: Flags, num_true: int) -> float:
    """Compute the AP of one class.

    Args:
        scores, is_right: (D,) of the detections that count, in any order.
        num_true: number of true boxes; AP is 0 if there are none.
    """
    if num_true == 0 or len(scores) == 0:
        return 0.0
    right = is_right[np.argsort(-scores, kind="stable")]
    found = np.cumsum(right)
    # From the end, so that precision never rises with recall.
    precision = np.maximum.accumulate((found / np.arange(1, len(right) + 1))[::-1])[::-1]
    places = np.searchsorted(found / num_true, RECALLS, side="left")
    return float(np.where(places < len(precision), precision[places.clip(max=len(precision) - 1)], 0.0).mean())


def mean_average_precision(labels: Integers, scores: Floats, is_right: Flags, num_true: Integers) -> float | None:
    """Compute the mean AP over the classes that have true boxes; None if no class has any.

    Args:
        labels, scores, is_right: (D,) of the detections that count.
        num_true: (K,) number of true boxes by class.
    """
    of_class = [
        average_precision(scores[labels == label], is_right[labels == label], int(num_true[label]))
        for label in np.flatnonzero(num_true)
    ]
    return float(np.mean(of_class)) if of_class else None


def ap_of_images(matches: Matches, chosen: Flags) -> float | None:
    """Compute COCO's AP on some images: the mean over classes and IoU 0.50 to 0.95; None without true boxes.

    Args:
        chosen: (I,) in the order of `matches.image_ids`.
    """
    of_class = [
        _ap_of_class(matches, chosen, slice(*found), slice(*truth))
        for found, truth in zip(pairwise(matches.starts), pairwise(matches.truth_starts), strict=True)
    ]
    known = [ap for ap in of_class if ap is not None]
    return float(np.mean(known)) if known else None


def _ap_of_class(matches: Matches, chosen: Flags, found: slice, truth: slice) -> float | None:
    num_true = int(matches.truth_count[truth, _ALL_AREAS][chosen[matches.truth_image[truth]]].sum())
    if num_true == 0:
        return None
    own = chosen[matches.image[found]]
    scores = matches.scores[found][own]
    is_right, counts = matches.is_right[found, _ALL_AREAS][own], ~matches.is_ignored[found, _ALL_AREAS][own]  # (D, T)
    return float(
        np.mean(
            [
                average_precision(scores[each], right[each], num_true)
                for right, each in zip(is_right.T, counts.T, strict=True)
            ]
        )
    )
