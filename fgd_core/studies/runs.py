"""The runs of a study, and their scores as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fgd_core.spec.comparison import MIN_BOXES
from fgd_core.spec.results import AlteredScores, Scores
from fgd_core.statistics.evidence import Evidence
from fgd_core.statistics.rows import SCORES
from fgd_core.statistics.seeds import Points


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyRun:
    """Holds what a study needs of one finished run."""

    seed: int
    scores: Scores
    evidence: Evidence | None = None
    """Its matched detections, for findings about single objects; None if the file was not kept."""
    altered: AlteredScores | None = None
    """On mildly altered copies of the same images, for individual fairness."""


def points(runs: Sequence[StudyRun]) -> Points:
    """Arrange the scores of n runs, in the order of `rows.SCORES` and of the first run's classes."""
    names = class_names(runs)
    return Points(
        scores=np.array([[_number(getattr(run.scores, score)) for score in SCORES] for run in runs]),
        classes=np.array([[_number(run.scores.per_class[name].ap) for name in names] for run in runs]).reshape(
            len(runs), len(names)
        ),
    )


def class_names(runs: Sequence[StudyRun]) -> list[str]:
    """Return the names of the classes, in the data set's order."""
    return list(runs[0].scores.per_class)


def boxes_of_classes(runs: Sequence[StudyRun]) -> list[int]:
    """Return (K,) the number of true boxes of each class."""
    return [score.num_boxes for score in runs[0].scores.per_class.values()]


def boxes_of_scores(runs: Sequence[StudyRun]) -> list[int]:
    """Return (S,) the number of true boxes that each score rests on.

    Without evidence the number of boxes of one size is unknown: a score that is there counts as tested on enough.
    """
    total = sum(boxes_of_classes(runs))
    evidence = runs[0].evidence
    if evidence is None:
        return [total, total, total, *[MIN_BOXES] * 3]
    by_size = sum(evidence.of_class(place).truth_count.sum(axis=0) for place in range(len(evidence.class_names)))
    return [total, total, total, *(int(number) for number in np.asarray(by_size)[1:])]


def _number(value: float | None) -> float:
    return np.nan if value is None else value
