"""Measures whether the scores of a whole split are probabilities."""

from collections.abc import Sequence

import numpy as np

from fgd_core.evaluation.diagnosis.matching import MatchedImage
from fgd_core.spec.diagnosis import Calibration
from fgd_core.statistics.calibration import calibration


def measure_calibration(images: Sequence[MatchedImage]) -> Calibration:
    """Compare the scores of detections with the fraction of them that is right at IoU 0.5."""
    scores = [image.scores[~image.is_ignored] for image in images]
    is_right = [image.is_right[~image.is_ignored] for image in images]
    return calibration(np.concatenate([np.zeros(0), *scores]), np.concatenate([np.zeros(0, np.bool_), *is_right]))
