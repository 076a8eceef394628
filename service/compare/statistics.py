"""Measures the difference of two groups of runs against the chance in the choice of images, by a paired bootstrap.

All runs are scored on the same resamples, so the difficulty of an image cancels out. It says nothing about other seeds:
`fgd_core.statistics.seeds` measures the chance in training with other seeds.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from fgd_core.spec.comparison import CONFIDENCE
from fgd_core.statistics.evidence import Evidence
from fgd_core.statistics.seeds import EQUAL, Differences, Measured, Points, if_several
from service.compare.precision import Floats, overall, scores


def points(group: Sequence[Evidence]) -> Points:
    """Score the runs of a group on all images."""
    per_class = [scores(run, np.ones((len(run.image_ids), 1))) for run in group]
    return Points(
        scores=np.array([overall(found)[:, 0] for found in per_class]),
        classes=np.array([found[0, :, 0] for found in per_class]),
    )


def by_images(
    first: Sequence[Evidence], second: Sequence[Evidence], *, exact: tuple[Points, Points], resamples: int, seed: int
) -> Differences:
    """Percentile intervals from `resamples` resamples of the images, the same for every run.

    Args:
        exact: the groups' `points`.
    """
    weights = resampled_weights(len(first[0].image_ids), resamples, seed)
    apart = _mean_scores(first, weights) - _mean_scores(second, weights)  # (S, K, R)
    # Both groups score the same classes, so the mean of differences is the difference of means.
    whole = overall(apart)  # (S, R)
    num_images = len(first[0].image_ids)
    value = exact[0].scores.mean(axis=0) - exact[1].scores.mean(axis=0)
    of_class = exact[0].classes.mean(axis=0) - exact[1].classes.mean(axis=0)
    return Differences(
        scores=[_bootstrapped(v, drawn, num_images) for v, drawn in zip(value, whole, strict=True)],
        classes=[_bootstrapped(v, drawn, num_images) for v, drawn in zip(of_class, apart[0], strict=True)],
        beyond_overall=if_several(
            [
                _bootstrapped(v - value[0], drawn - whole[0], num_images)
                for v, drawn in zip(of_class, apart[0], strict=True)
            ]
        ),
    )


def resampled_weights(num_images: int, resamples: int, seed: int) -> npt.NDArray[np.float32]:
    """(I, R) number of times that each image is in each resample; a resample draws I images with replacement."""
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(num_images, size=num_images), minlength=num_images) for _ in range(resamples)]
    return np.stack(drawn, axis=1).astype(np.float32)


def _mean_scores(group: Sequence[Evidence], weights: Floats) -> Floats:
    """(S, K, R)"""
    total = scores(group[0], weights)
    for run in group[1:]:
        total += scores(run, weights)
    return total / len(group)


def _bootstrapped(value: float, drawn: Floats, num_images: int) -> Measured | None:
    """Percentile interval and p, expanded for few images: resamples of n images vary by a factor √((n − 1) / n) too
    little, and their spread is an estimate, for which Student's t corrects.

    Source: Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69 (2015), §5.2.
    """
    if np.isnan(value):
        return None
    drawn = drawn[~np.isnan(drawn)].astype(np.float64)
    if len(drawn) == 0 or num_images < 2:
        return Measured(value)
    freedom, wider = num_images - 1, np.sqrt(num_images / (num_images - 1))
    tail = float(special.ndtr(wider * special.stdtrit(freedom, (1 - CONFIDENCE) / 2)))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (len(drawn) + 1))
    if beyond == 0:
        # No resample is on the other side of zero. The smallest p that few resamples can show is too large among
        # many classes, so the tail of a normal distribution with the same spread gives p.
        p = min(p, float(2 * special.ndtr(-abs(value) / max(drawn.std(), EQUAL))))
    p = float(2 * special.stdtr(freedom, special.ndtri(p / 2) / wider))
    return Measured(float(value), float(low), float(high), p)
