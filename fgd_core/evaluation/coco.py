"""Computes COCO's 12 numbers, AP per class, mask AP and keypoint AP, without files."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fgd_core.data.keypoints import names_of_keypoints
from fgd_core.data.samples import DetectionDataset
from fgd_core.evaluation.columns import COCO_KEYPOINTS, UNIFORM_SIGMA, Curves, Found, columns_of
from fgd_core.evaluation.engine import curves
from fgd_core.evaluation.matches import Matches, match
from fgd_core.spec.results import ClassScore, KeypointScores, MaskScores, Scores


class Evaluation(NamedTuple):
    """Holds what a comparison and a diagnosis need of an evaluation of boxes."""

    curves: Curves
    matches: Matches


class _Number(NamedTuple):
    """Describes one number: the mean of precision or recall over the true objects' classes."""

    of: Literal["precision", "recall"]
    overlap: int | None = None
    """Place of the IoU or OKS; None for the mean over all."""
    area: int = 0
    """Place of the area range; the first is all areas."""
    most: int = -1
    """Place of the number of detections that count."""


_IOU_50, _IOU_75 = 0, 5
_NUMBERS = {
    "ap": _Number("precision"),
    "ap50": _Number("precision", _IOU_50),
    "ap75": _Number("precision", _IOU_75),
    "ap_small": _Number("precision", area=1),
    "ap_medium": _Number("precision", area=2),
    "ap_large": _Number("precision", area=3),
    "ar1": _Number("recall", most=0),
    "ar10": _Number("recall", most=1),
    "ar100": _Number("recall", most=2),
    "ar_small": _Number("recall", area=1),
    "ar_medium": _Number("recall", area=2),
    "ar_large": _Number("recall", area=3),
}
_KEYPOINT_NUMBERS = {
    "ap": _Number("precision"),
    "ap50": _Number("precision", _IOU_50),
    "ap75": _Number("precision", _IOU_75),
    "ap_medium": _Number("precision", area=1),
    "ap_large": _Number("precision", area=2),
    "ar": _Number("recall"),
    "ar50": _Number("recall", _IOU_50),
    "ar75": _Number("recall", _IOU_75),
    "ar_medium": _Number("recall", area=1),
    "ar_large": _Number("recall", area=2),
}
"""Without small objects, which have no keypoints in COCO."""


def coco_scores(dataset: DetectionDataset, detections: Found) -> Scores:
    """Score boxes on a whole split.

    Args:
        detections: by image id, in pixels of the original image; an image without an entry has no detections.
    Raises:
        ValueError: detections for an image that the data set does not have, or arrays of unequal length.
        Stopped: the run was asked to stop.
    """
    found = curves(columns_of(dataset, detections, "bbox"))
    return Scores(**_numbers(found), per_class=_per_class(found, dataset))


def mask_scores(dataset: DetectionDataset, detections: Found) -> MaskScores:
    """Score masks on a whole split; arguments and errors as of `coco_scores`.

    Raises:
        ValueError: the data set or the detections have no masks.
    """
    found = curves(columns_of(dataset, detections, "segm"))
    numbers = _numbers(found)
    kept = {name: numbers[name] for name in MaskScores.model_fields if name in numbers}
    return MaskScores(**kept, per_class=_per_class(found, dataset))


def keypoint_scores(dataset: DetectionDataset, detections: Found) -> KeypointScores:
    """Score keypoints on a whole split by their OKS; arguments and errors as of `coco_scores`.

    For 17 keypoints, OKS uses COCO's sigmas; else 0.05 for each keypoint, because sigmas are measured by annotating the
    same images several times, which few data sets did.

    Raises:
        ValueError: the data set or the detections have no keypoints.
    """
    found = curves(columns_of(dataset, detections, "keypoints"))
    numbers = {name: _value(found, number) for name, number in _KEYPOINT_NUMBERS.items()}
    kept = {name: numbers[name] for name in KeypointScores.model_fields if name in numbers}
    num_keypoints = len(names_of_keypoints(dataset.categories))
    sigmas = f"{UNIFORM_SIGMA} for each of {num_keypoints} keypoints"
    if num_keypoints == COCO_KEYPOINTS:
        sigmas = "those of COCO's 17 keypoints"
    return KeypointScores(**kept, per_class=_per_class(found, dataset), sigmas=sigmas)


def match_detections(dataset: DetectionDataset, detections: Found) -> Evaluation:
    """Match boxes with true boxes, and compute their curves; arguments and errors as of `coco_scores`."""
    columns = columns_of(dataset, detections, "bbox")
    return Evaluation(curves(columns), match(columns))


def _numbers(found: Curves) -> dict[str, float | None]:
    return {name: _value(found, number) for name, number in _NUMBERS.items()}


def _value(found: Curves, number: _Number) -> float | None:
    values = getattr(found, number.of)[..., number.area, number.most]
    return _mean(values if number.overlap is None else values[number.overlap])


def _per_class(found: Curves, dataset: DetectionDataset) -> dict[str, ClassScore]:
    return {
        category.name: ClassScore(
            ap=_mean(found.precision[:, :, label, 0, -1]),
            ap50=_mean(found.precision[_IOU_50, :, label, 0, -1]),
            num_boxes=dataset.checked.boxes_per_category[category.name],
        )
        for label, category in enumerate(dataset.categories)
    }


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    """Average what is known, as COCOeval does; None if nothing is."""
    known = values[values > -1]
    return float(known.mean()) if len(known) else None
