"""Statistics of two groups of runs with several seeds each: Welch's t-test for each score and each class."""

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fgd_core.statistics.welch import Difference, sample, welch

Array: TypeAlias = npt.NDArray[np.float64]

# APs that differ by less are equal: they were summed in another order.
EQUAL = 1e-9


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
    """(S,) in the order of the points' scores; AP first."""
    classes: list[Measured | None]
    """Differences of AP, in the order of the classes."""
    beyond_overall: list[Measured | None]
    """Differences of (AP of a class minus AP of the same run); all None if only one class is scored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Holds the scores of the n runs of a group; NaN if there is nothing to score."""

    scores: Array
    """(n, S) AP first"""
    classes: Array
    """(n, K) AP"""


def by_seeds(first: Points, second: Points) -> Differences:
    """Welch's t-test for each score; each side needs two runs."""
    centred = [group.classes - group.scores[:, :1] for group in (first, second)]
    return Differences(
        scores=[measured(a, b) for a, b in zip(first.scores.T, second.scores.T, strict=True)],
        classes=[measured(a, b) for a, b in zip(first.classes.T, second.classes.T, strict=True)],
        beyond_overall=if_several([measured(a, b) for a, b in zip(centred[0].T, centred[1].T, strict=True)]),
    )


def measured(first: Array, second: Array) -> Measured | None:
    """Test values (n,) against values (m,), n, m >= 2; None if there is nothing to score in one of the runs."""
    value = float(first.mean() - second.mean())
    if np.isnan(value):
        return None
    if max(np.ptp(first), np.ptp(second)) < EQUAL:
        # Without any spread t is infinite: chance cannot be measured, unless nothing differs at all.
        return Measured(0.0, 0.0, 0.0, 1.0) if abs(value) < EQUAL else Measured(value)
    ours, theirs = sample(first.tolist()), sample(second.tolist())
    assert ours is not None and theirs is not None
    found = welch(ours, theirs)
    assert found is not None
    return Measured(value, found.interval.low, found.interval.high, found.p_value)


def measured_from(values: Array, fixed: float) -> Measured | None:
    """Test values (n,), n >= 2, against a number that has no spread, by Student's t; None if either is NaN."""
    value = float(values.mean() - fixed)
    if np.isnan(value):
        return None
    if np.ptp(values) < EQUAL:
        return Measured(0.0, 0.0, 0.0, 1.0) if abs(value) < EQUAL else Measured(value)
    ours = sample((values - fixed).tolist())
    assert ours is not None
    found = Difference(value=value, error=math.sqrt(ours.variance / ours.count), freedom=ours.freedom)
    return Measured(value, found.interval.low, found.interval.high, found.p_value)


def if_several(found: list[Measured | None]) -> list[Measured | None]:
    """Keep differences from the mean over the classes, unless only one class is scored: then there is none."""
    scored = sum(one is not None for one in found)
    return found if scored > 1 else [None] * len(found)
