"""Computes a score from the matched detections of a run, as `fgd compare` does."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fgd_core.statistics import evidence
from fgd_core.statistics.rows import SCORES
from service.compare.precision import overall, scores

_CLASS = "class "


class Recomputed(NamedTuple):
    """A score, and on how many images it rests."""

    value: float | None
    """None if there are no true boxes to score."""
    num_images: int


def figure_of(path: Path, job_id: str, name: str) -> Recomputed:
    """Compute the score `name`: `ap`, `ap50`, …, or `class sphere`.

    Raises:
        NotComparableError: the file is damaged, or has another version.
    """
    run = evidence.read(path, whose=f"job {job_id}")
    num_images = len(run.image_ids)
    per_class = scores(run, np.ones((num_images, 1)))
    if name.startswith(_CLASS):
        value = per_class[0, run.class_names.index(name.removeprefix(_CLASS)), 0]
    else:
        value = overall(per_class)[[str(score) for score in SCORES].index(name), 0]
    return Recomputed(None if np.isnan(value) else float(value), num_images)
