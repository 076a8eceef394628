"""Measures whether scores are probabilities."""

from collections.abc import Sequence

import numpy as np

from fgd_core.evaluation.columns import Flags, Floats
from fgd_core.evaluation.diagnosis.matching import MatchedImage
from fgd_core.spec.diagnosis import Calibration, CalibrationBin

MIN_SCORE = 0.05
NUM_BINS = 10


def measure_calibration(images: Sequence[MatchedImage], min_score: float = MIN_SCORE) -> Calibration:
    """Compare the scores of detections with the fraction of them that is right at IoU 0.5."""
    scores, is_right = _counted(images, min_score)
    # A score of 1 belongs to the last bin.
    place = np.minimum((scores * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    bins = [_bin(number, scores[place == number], is_right[place == number]) for number in range(NUM_BINS)]
    gaps = [
        abs(each.score - each.precision) * each.count
        for each in bins
        if each.score is not None and each.precision is not None
    ]
    return Calibration(min_score=min_score, error=float(sum(gaps) / len(scores)) if len(scores) else None, bins=bins)


def _counted(images: Sequence[MatchedImage], min_score: float) -> tuple[Floats, Flags]:
    counts = [~image.is_ignored & (image.scores >= min_score) for image in images]
    scores = [image.scores[own] for image, own in zip(images, counts, strict=True)]
    is_right = [image.is_right[own] for image, own in zip(images, counts, strict=True)]
    return np.concatenate([np.zeros(0), *scores]), np.concatenate([np.zeros(0, np.bool_), *is_right])


def _bin(number: int, scores: Floats, is_right: Flags) -> CalibrationBin:
    return CalibrationBin(
        low=number / NUM_BINS,
        high=(number + 1) / NUM_BINS,
        count=len(scores),
        score=float(scores.mean()) if len(scores) else None,
        precision=float(is_right.mean()) if len(scores) else None,
    )
