"""How much altered images change what a detector finds: the same boxes in an image and in its copy."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fgd_core.statistics.evidence import ClassEvidence, Evidence
from fgd_core.statistics.operating import ALL_AREAS, AT_50, num_kept


class Alteration(NamedTuple):
    """See `fgd_core.spec.results.AlteredScores`."""

    score_change: float
    flips: float


def alteration(original: Evidence, copy: Evidence) -> Alteration:
    """Compare the scores with which each true box is found at IoU 0.5, and whether it is found at all.

    A box is found if its score reaches the class's score with the best F1 on the original images, because a user of
    the detector has set one threshold.

    Args:
        original, copy: of the same boxes, with the numbers of the boxes that detections find.
    """
    num_boxes, change, flips = 0, 0.0, 0
    for place in range(len(original.class_names)):
        one, other = original.of_class(place), copy.of_class(place)
        kept = num_kept(one)
        threshold = one.scores[kept - 1] if kept else np.inf
        before, after = _scores(one, other)
        num_boxes += one.num_boxes
        change += float(np.abs(before - after).sum())
        flips += int(((before >= threshold) != (after >= threshold)).sum())
    return Alteration(change / max(num_boxes, 1), flips / max(num_boxes, 1))


def _scores(*sides: ClassEvidence) -> list[npt.NDArray[np.float64]]:
    """Return for each side (G,) the score of each box that any side finds, 0 if this side misses it."""
    found = []
    for one in sides:
        assert one.truth is not None, "only files of older versions lack the numbers of the boxes"
        right = one.right[ALL_AREAS, AT_50]
        found.append((one.truth[right], one.scores[right]))
    boxes = np.unique(np.concatenate([numbers for numbers, _ in found]))
    scores = np.zeros((len(sides), len(boxes)))
    for own, (numbers, values) in zip(scores, found, strict=True):
        own[np.searchsorted(boxes, numbers)] = values
    return [*scores]
