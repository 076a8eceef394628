"""The diagnosis of a detector: where it errs on the boxes of the validation split. All numbers are in [0, 1]."""

from typing import Literal, TypeAlias

from fgd_core.spec.base import Fact

ErrorKind: TypeAlias = Literal["classification", "localisation", "both", "duplicate", "background", "missed"]
"""The kinds of TIDE, arXiv:2008.08115 §2.2."""
MEANINGS: dict[ErrorKind, str] = {
    "classification": "the box is right (IoU of at least 0.5) and the class is wrong",
    "localisation": "the class is right and the box is off (IoU of 0.1 to 0.5)",
    "both": "the class is wrong and the box is off",
    "duplicate": "box and class are right, but a detection with a higher score has found the object",
    "background": "no object is there (IoU below 0.1)",
    "missed": "no detection is near the object, not even one with a wrong class or box",
}


class Errors(Fact):
    """The errors of one kind."""

    kind: ErrorKind
    count: int
    gain: float | None
    """By how much AP50 would rise without the errors of this kind (dAP in TIDE); None without true boxes. The gains of
    all kinds do not add up to what is missing, because AP is no sum."""


class ConfusionCell(Fact):
    """How often true boxes of one class were found as another one."""

    true: str | None
    """None: no object was there."""
    found: str | None
    """None: the object was missed."""
    count: int


class Confusion(Fact):
    """The confusion matrix: detections matched with true boxes at IoU 0.5, whatever their classes."""

    min_score: float
    """Only detections with this score or a higher one count."""
    cells: list[ConfusionCell]
    """Cells that are not zero: for each class how often it was found right, then the most frequent confusions."""
    num_left_out: int = 0
    """Number of boxes in rarer confusions, which are not listed."""


class PrecisionCurve(Fact):
    """Precision over recall, as the mean over classes."""

    iou: float | None
    """None: the mean over IoU 0.50 to 0.95, whose mean is AP."""
    precision: list[float]
    """At the recalls 0, 0.01, …, 1."""


class CountGroup(Fact):
    """The images with a certain number of objects."""

    fewest: int
    most: int | None
    """None: no limit."""
    num_images: int
    num_boxes: int
    ap: float | None


class CalibrationBin(Fact):
    """The detections whose scores are in one tenth of [0, 1]."""

    low: float
    high: float
    count: int
    score: float | None
    """Mean score; None without detections."""
    precision: float | None
    """Fraction of detections that are right at IoU 0.5."""


class Calibration(Fact):
    """Whether a score is the probability that the detection is right."""

    min_score: float
    """Only detections with this score or a higher one count."""
    error: float | None
    """The expected calibration error: |score - precision|, averaged over the detections, in ten bins; None without
    detections. Source: arXiv:1706.04599 §3."""
    brier: float | None = None
    """The Brier score: the mean of (score - 1)² over right detections and of score² over wrong ones; None without
    detections, and in results of older versions."""
    bins: list[CalibrationBin]


class Diagnosis(Fact):
    """Where a detector errs on the boxes of a split. Objects of crowds, and detections in them, do not count."""

    num_boxes: int
    ap50: float | None
    """The AP50 from which the gains of `errors` count."""
    errors: list[Errors]
    confusion: Confusion
    curves: list[PrecisionCurve]
    by_count: list[CountGroup]
    calibration: Calibration

    def in_words(self) -> str:
        """Return the number of errors of each kind: `3 classification, 41 background`; `none` if there are none."""
        return ", ".join(f"{each.count} {each.kind}" for each in self.errors if each.count) or "none"
