"""Measures whether scores are probabilities."""

import numpy as np
import numpy.typing as npt

from fgd_core.spec.diagnosis import Calibration, CalibrationBin

MIN_SCORE = 0.05
NUM_BINS = 10


def calibration(
    scores: npt.NDArray[np.float64], is_right: npt.NDArray[np.bool_], *, min_score: float = MIN_SCORE
) -> Calibration:
    """Compare scores (D,) of detections with the fraction of them that is right (D,) at IoU 0.5.

    Args:
        min_score: detections below it do not count.
    """
    counts = scores >= min_score
    scores, is_right = scores[counts], is_right[counts]
    # A score of 1 belongs to the last bin.
    place = np.minimum((scores * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    bins = [_bin(number, scores[place == number], is_right[place == number]) for number in range(NUM_BINS)]
    gaps = [
        abs(each.score - each.precision) * each.count
        for each in bins
        if each.score is not None and each.precision is not None
    ]
    return Calibration(
        min_score=min_score,
        error=float(sum(gaps) / len(scores)) if len(scores) else None,
        brier=float(((scores - is_right) ** 2).mean()) if len(scores) else None,
        bins=bins,
    )


def _bin(number: int, scores: npt.NDArray[np.float64], is_right: npt.NDArray[np.bool_]) -> CalibrationBin:
    return CalibrationBin(
        low=number / NUM_BINS,
        high=(number + 1) / NUM_BINS,
        count=len(scores),
        score=float(scores.mean()) if len(scores) else None,
        precision=float(is_right.mean()) if len(scores) else None,
    )
