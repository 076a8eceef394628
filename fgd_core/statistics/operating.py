"""A run at its operating point: the detections of each class down to the score with the best F1 at IoU 0.5.

AP sums over all scores; a user of a detector sees the boxes above one. Groups of objects are compared there, and so are
the objects that two runs find.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fgd_core.statistics.evidence import ClassEvidence, Evidence

ALL_AREAS = 0
AT_50 = 0


class Rates(NamedTuple):
    """Holds counts of a slice of the ground truth at the operating point."""

    boxes: int
    """True boxes of the slice."""
    hits: int
    """Detections that found one of them."""
    alarms: int
    """Detections of the slice that found nothing."""

    @property
    def recall(self) -> float:
        """The true positive rate, in [0, 1]; NaN without boxes."""
        return self.hits / self.boxes if self.boxes else np.nan

    @property
    def positives(self) -> float:
        """Detections for each true box; NaN without boxes."""
        return (self.hits + self.alarms) / self.boxes if self.boxes else np.nan

    @property
    def alarm_rate(self) -> float:
        """The share of the detections that found nothing, in [0, 1]; 0 without detections."""
        return self.alarms / max(self.hits + self.alarms, 1)


def num_kept(one: ClassEvidence) -> int:
    """Return how many of the best detections of a class have the best F1 at IoU 0.5; 0 if none is right."""
    right, counts = one.right[ALL_AREAS, AT_50], ~one.ignored[ALL_AREAS, AT_50]
    hits = np.cumsum(right)
    f1 = 2 * hits / np.maximum(np.cumsum(counts) + one.num_boxes, 1)
    return int(f1.argmax()) + 1 if len(f1) and f1.max() > 0 else 0


def rates(one: ClassEvidence, *, area: int = ALL_AREAS, images: npt.NDArray[np.bool_] | None = None) -> Rates:
    """Count a slice of one class.

    Args:
        area: place in `evidence.AREAS`.
        images: (I,) the images of the slice; all, unless given.
    """
    kept = slice(num_kept(one))
    right, ignored = one.right[area, AT_50, kept], one.ignored[area, AT_50, kept]
    truth = one.truth_count[:, area]
    if images is not None:
        inside = images[one.image[kept]]
        right, ignored = right & inside, ignored | ~inside
        truth = truth[images[one.truth_image]]
    return Rates(boxes=int(truth.sum()), hits=int(right.sum()), alarms=int((~right & ~ignored).sum()))


def scores_of_boxes(evidence: Evidence, *, at_operating_point: bool = True) -> npt.NDArray[np.float64] | None:
    """Return (G,) the score with which each true box is found, 0 if it is missed; None for files of older versions.

    Boxes have the same places for all runs on the same split. Crowds, which count for nothing, have 0.

    Args:
        at_operating_point: whether detections below the operating point find nothing.
    """
    found = [evidence.of_class(place) for place in range(len(evidence.class_names))]
    scored = []
    for one in found:
        if one.truth is None:
            return None
        right = one.right[ALL_AREAS, AT_50].copy()
        if at_operating_point:
            right[num_kept(one) :] = False
        scored.append((one.truth[right], one.scores[right]))
    scores = np.zeros(1 + max((int(places.max()) for places, _ in scored if len(places)), default=-1))
    for places, values in scored:
        scores[places] = values
    return scores
