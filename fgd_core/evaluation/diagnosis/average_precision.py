"""Computes AP from detections that are already judged, as COCO does: precision at 101 recalls."""

from collections.abc import Sequence

import numpy as np

from fgd_core.evaluation.diagnosis.matching import Flags, Floats, Integers
from fgd_core.evaluation.pycocotools_private import ImageResult

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


def ap_of_results(results: Sequence[Sequence[ImageResult]]) -> float | None:
    """Compute COCO's AP, the mean over classes and IoU 0.50 to 0.95, from results of pycocotools.

    Args:
        results: for each class, the results of the images that have true boxes or detections of it.
    """
    of_class = [_ap_of_class(images) for images in results]
    known = [ap for ap in of_class if ap is not None]
    return float(np.mean(known)) if known else None


def _ap_of_class(images: Sequence[ImageResult]) -> float | None:
    num_true = sum(int(np.count_nonzero(image["gtIgnore"] == 0)) for image in images)
    if num_true == 0:
        return None
    scores = np.concatenate([np.asarray(image["dtScores"], np.float64) for image in images])
    matched = np.concatenate([image["dtMatches"] for image in images], axis=1) > 0  # (IoUs, D)
    counts = ~np.concatenate([image["dtIgnore"] for image in images], axis=1).astype(np.bool_)
    return float(
        np.mean(
            [average_precision(scores[own], right[own], num_true) for right, own in zip(matched, counts, strict=True)]
        )
    )
