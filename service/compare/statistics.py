"""Measures the difference of two groups of runs against chance, in two ways.

`by_images`, the paired bootstrap, measures the chance in the choice of images. All runs are scored on the same
resamples, so the difficulty of an image cancels out. It says nothing about other seeds. `by_seeds`, Welch's t-test,
measures the chance in training with other seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

from fgd_core.spec.comparison import CONFIDENCE
from service.compare.evidence import Evidence
from service.compare.precision import Floats, overall, scores
from service.compare.sweeps.welch import sample, welch

_Array: TypeAlias = npt.NDArray[np.float64]

# APs that differ by less are equal: they were summed in another order.
_EQUAL = 1e-9


class Measured(NamedTuple):
    """A difference without a verdict; the last three are None if chance cannot be measured."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None


@dataclass(frozen=True, kw_only=True)
class Differences:
    """First minus second; None if there is nothing to score."""

    scores: list[Measured | None]
    """In the order of `precision.SCORES`."""
    classes: list[Measured | None]
    """Differences of AP, in the order of the classes."""
    beyond_overall: list[Measured | None]
    """Differences of (AP of a class minus AP of the same run); all None if only one class is scored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """The scores of the n runs of a group, as pycocotools computes them; NaN if there is nothing to score."""

    scores: _Array
    """(n, S)"""
    classes: _Array
    """(n, K) AP"""


def points(group: Sequence[Evidence]) -> Points:
    """Score the runs of a group on all images."""
    per_class = [scores(run, np.ones((len(run.image_ids), 1))) for run in group]
    return Points(
        scores=np.array([overall(found)[:, 0] for found in per_class]),
        classes=np.array([found[0, :, 0] for found in per_class]),
    )


def by_seeds(first: Points, second: Points) -> Differences:
    """Welch's t-test for each score; each side needs two runs."""
    centred = [group.classes - group.scores[:, :1] for group in (first, second)]
    return Differences(
        scores=[_welch(a, b) for a, b in zip(first.scores.T, second.scores.T, strict=True)],
        classes=[_welch(a, b) for a, b in zip(first.classes.T, second.classes.T, strict=True)],
        beyond_overall=_if_several([_welch(a, b) for a, b in zip(centred[0].T, centred[1].T, strict=True)]),
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
        beyond_overall=_if_several(
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


def _welch(first: _Array, second: _Array) -> Measured | None:
    value = float(first.mean() - second.mean())
    if np.isnan(value):
        return None
    if max(np.ptp(first), np.ptp(second)) < _EQUAL:
        # Without any spread t is infinite: chance cannot be measured, unless nothing differs at all.
        return Measured(0.0, 0.0, 0.0, 1.0) if abs(value) < _EQUAL else Measured(value)
    ours, theirs = sample(first.tolist()), sample(second.tolist())
    assert ours is not None and theirs is not None
    found = welch(ours, theirs)
    assert found is not None
    return Measured(value, found.interval.low, found.interval.high, found.p_value)


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
        p = min(p, float(2 * special.ndtr(-abs(value) / max(drawn.std(), _EQUAL))))
    p = float(2 * special.stdtr(freedom, special.ndtri(p / 2) / wider))
    return Measured(float(value), float(low), float(high), p)


def _if_several(measured: list[Measured | None]) -> list[Measured | None]:
    scored = sum(one is not None for one in measured)
    return measured if scored > 1 else [None] * len(measured)
