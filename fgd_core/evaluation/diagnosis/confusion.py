"""Counts which classes a detector takes for which others."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from fgd_core.evaluation.diagnosis.matching import NOTHING, MatchedImage, match_any_class
from fgd_core.spec.diagnosis import Confusion, ConfusionCell

MIN_SCORE = 0.3
MAX_CELLS = 100
"""Confusions that are listed, so that a data set of a thousand classes has a readable matrix."""
_Pair = tuple[int, int]
"""Classes of the true box and of the detection; -1 for none."""


def count_confusions(
    images: Sequence[MatchedImage], class_names: Sequence[str], min_score: float = MIN_SCORE
) -> Confusion:
    """Count pairs of true and found classes over all images."""
    counts = Counter(pair for image in images for pair in _pairs(image, min_score))
    right = [(pair, count) for pair, count in sorted(counts.items()) if pair[0] == pair[1]]
    wrong = sorted(((pair, count) for pair, count in counts.items() if pair[0] != pair[1]), key=_most_frequent_first)
    names = {**dict(enumerate(class_names)), NOTHING: None}
    return Confusion(
        min_score=min_score,
        cells=[
            ConfusionCell(true=names[true], found=names[found], count=count)
            for (true, found), count in [*right, *wrong[:MAX_CELLS]]
        ],
        num_left_out=sum(count for _, count in wrong[MAX_CELLS:]),
    )


def _pairs(image: MatchedImage, min_score: float) -> Iterator[_Pair]:
    truth = match_any_class(image, min_score)
    for index in np.flatnonzero((image.scores >= min_score) & ~(image.is_ignored & (truth == NOTHING))):
        true = NOTHING if truth[index] == NOTHING else int(image.true_labels[truth[index]])
        yield true, int(image.labels[index])
    for missed in np.setdiff1d(np.arange(len(image.true_labels)), truth):
        yield int(image.true_labels[missed]), NOTHING


def _most_frequent_first(cell: tuple[_Pair, int]) -> tuple[int, _Pair]:
    return -cell[1], cell[0]
