"""Runs that were never trained, whose true skill is therefore known."""

from collections.abc import Sequence

import numpy as np

from fgd_core.spec.results import ClassScore, Scores
from fgd_core.studies.runs import StudyRun

NO_SCORES = dict.fromkeys(
    ("ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
)


def run(seed: int, aps: Sequence[float], *, num_boxes: int = 100) -> StudyRun:
    """A run with these APs of classes `class 0`, `class 1`, …"""
    per_class = {
        f"class {place}": ClassScore(ap=float(ap), ap50=float(ap), num_boxes=num_boxes) for place, ap in enumerate(aps)
    }
    return StudyRun(seed=seed, scores=Scores(ap=float(np.mean(aps)), per_class=per_class, **NO_SCORES))


def runs(aps: np.ndarray) -> list[StudyRun]:
    """Runs with seeds from 0 with APs (n, K)."""
    return [run(seed, row) for seed, row in enumerate(aps)]
