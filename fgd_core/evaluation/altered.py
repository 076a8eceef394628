"""Scores a detector on mildly altered copies of its validation images, against the images themselves."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np

from fgd_core.data.altered import Altered
from fgd_core.data.samples import DetectionDataset
from fgd_core.evaluation.coco import coco_scores, match_detections
from fgd_core.evaluation.evidence import evidence_of
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.ranks import from_first
from fgd_core.spec.evaluation import AlteredImages
from fgd_core.spec.results import AlteredScores
from fgd_core.statistics.alteration import Alteration, alteration

Found: TypeAlias = Mapping[int, ImageDetections]


class _OnCopy(NamedTuple):
    ap: float | None
    change: Alteration


def altered_scores(
    dataset: DetectionDataset,
    detections: Found,
    settings: AlteredImages,
    *,
    detect: Callable[[DetectionDataset, str], Found],
) -> AlteredScores:
    """Detect on the copies of all images, and compare.

    Several ranks detect together, and rank 0 compares; all return the same.

    Args:
        detections: on the images themselves, by image id; read on rank 0 only.
        detect: detects on a data set; the text names it in progress events.
    """
    found = []
    for copy in range(settings.copies):
        on_copy = detect(Altered(dataset, settings, copy), f"altered copy {copy + 1} of {settings.copies}")
        found.append(from_first(partial(_compare, dataset, detections, on_copy)))
    aps = [each.ap for each in found if each.ap is not None]
    return AlteredScores(
        num_copies=len(found),
        ap=float(np.mean(aps)) if aps else None,
        score_change=float(np.mean([each.change.score_change for each in found])),
        flips=float(np.mean([each.change.flips for each in found])),
    )


def _compare(dataset: DetectionDataset, detections: Found, on_copy: Found) -> _OnCopy:
    names = [category.name for category in dataset.categories]
    original, altered = (
        evidence_of(match_detections(dataset, each), fingerprint=dataset.fingerprint, class_names=names)
        for each in (detections, on_copy)
    )
    return _OnCopy(coco_scores(dataset, on_copy).ap, alteration(original, altered))
