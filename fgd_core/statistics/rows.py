"""Rows of a table: both groups' means of each score and each class, with the verdict on the difference."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fgd_core.spec.comparison import ClassRow, ScoreKey, ScoreRow
from fgd_core.statistics import verdicts
from fgd_core.statistics.seeds import Differences, Points

SCORES: tuple[ScoreKey, ...] = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
"""The order of the S scores of `Points`."""


def score_rows(found: Differences, first: Points, second: Points, *, num_boxes: Sequence[int]) -> list[ScoreRow]:
    """Judge each score alone.

    Args:
        num_boxes: (S,) number of true boxes that each score rests on.
    """
    ours, theirs = known_means(first.scores), known_means(second.scores)
    return [
        ScoreRow(
            score=score,
            first=ours[place],
            second=theirs[place],
            change=verdicts.alone(found.scores[place], num_boxes=num_boxes[place]),
        )
        for place, score in enumerate(SCORES)
    ]


def class_rows(
    found: Differences, first: Points, second: Points, *, names: Sequence[str], num_boxes: Sequence[int]
) -> list[ClassRow]:
    """Judge all classes together, so that few of those called changed are false alarms.

    Args:
        names: (K,) names of the classes.
        num_boxes: (K,) number of true boxes of each class.
    """
    rows = zip(
        names,
        num_boxes,
        known_means(first.classes),
        known_means(second.classes),
        verdicts.among_many(found.classes, num_boxes=num_boxes),
        verdicts.among_many(found.beyond_overall, num_boxes=num_boxes),
        strict=True,
    )
    return [
        ClassRow(name=name, num_boxes=count, first=ours, second=theirs, change=change, beyond_overall=beyond)
        for name, count, ours, theirs, change, beyond in rows
    ]


def known_means(values: npt.NDArray[np.float64]) -> list[float | None]:
    """Average runs (n, K) to (K,); None where a run has nothing to score."""
    return [known(mean) for mean in values.mean(axis=0)]


def known(value: float) -> float | None:
    """Return None for NaN."""
    return None if np.isnan(value) else float(value)
