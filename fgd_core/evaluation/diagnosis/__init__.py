"""The diagnosis of a detector: kinds of error, confusions, curves, and whether its scores are probabilities."""

from collections.abc import Sequence

import numpy as np

from fgd_core.data.samples import DetectionDataset
from fgd_core.evaluation.coco import Evaluation
from fgd_core.evaluation.diagnosis.average_precision import ap_of_images
from fgd_core.evaluation.diagnosis.calibration import measure_calibration
from fgd_core.evaluation.diagnosis.confusion import count_confusions
from fgd_core.evaluation.diagnosis.errors import kinds_of_error
from fgd_core.evaluation.diagnosis.matching import MatchedImage
from fgd_core.evaluation.matches import OVERLAPS
from fgd_core.spec.diagnosis import CountGroup, Diagnosis, PrecisionCurve

_GROUPS: tuple[tuple[int, int | None], ...] = ((0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, None))
"""Numbers of objects per image: fewest and most."""
_SHOWN_IOUS = (0.5, 0.75)


def diagnose(dataset: DetectionDataset, images: Sequence[MatchedImage], evaluation: Evaluation) -> Diagnosis:
    """Diagnose the boxes that a detector found on a whole split.

    Args:
        images: in the order of the data set.
        evaluation: the same detections.
    """
    names = [category.name for category in dataset.categories]
    ap50, errors = kinds_of_error(images, len(names))
    return Diagnosis(
        num_boxes=dataset.checked.num_boxes,
        ap50=ap50,
        errors=errors,
        confusion=count_confusions(images, names),
        curves=precision_curves(evaluation),
        by_count=by_object_count(dataset, evaluation),
        calibration=measure_calibration(images),
    )


def precision_curves(evaluation: Evaluation) -> list[PrecisionCurve]:
    """Return precision over recall at IoU 0.5, at 0.75, and as the mean over all IoUs; none without true boxes."""
    precision = evaluation.curves.precision[:, :, :, 0, -1]  # (IoUs, recalls, classes); -1 for classes without boxes
    of_classes = precision[:, :, (precision > -1).all((0, 1))].mean(2) if (precision > -1).any() else None
    if of_classes is None:
        return []
    ious = [round(float(iou), 2) for iou in OVERLAPS]
    rows = [(iou, of_classes[ious.index(iou)]) for iou in _SHOWN_IOUS]
    return [
        PrecisionCurve(iou=iou, precision=[round(float(value), 4) for value in row])
        for iou, row in [*rows, (None, of_classes.mean(0))]
    ]


def by_object_count(dataset: DetectionDataset, evaluation: Evaluation) -> list[CountGroup]:
    """Compute AP separately for images with few and with many objects; crowds do not count as objects."""
    samples = sorted(dataset.samples, key=lambda sample: sample.image_id)
    counts = np.array([int((~sample.is_crowd).sum()) for sample in samples], dtype=np.int64)
    groups = []
    for fewest, most in _GROUPS:
        own = (counts >= fewest) & (counts <= (counts.max(initial=0) if most is None else most))
        if own.any():
            ap = ap_of_images(evaluation.matches, own)
            groups.append(
                CountGroup(fewest=fewest, most=most, num_images=int(own.sum()), num_boxes=int(counts[own].sum()), ap=ap)
            )
    return groups
