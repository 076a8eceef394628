"""The power of Welch's test over seeds: which gains n seeds can show, and how many seeds a gain needs.

The power is the mean over the spreads that runs of the given variances may show. It is lower than that of Student's
test, because Welch's degrees of freedom are estimated, too: 0.67 in place of 0.78 with three seeds.

Few seeds say little about how much runs vary. So the number of seeds is computed from an upper limit of the variance,
which the true variance exceeds in one study of five.

Source of the limit: Browne, On the use of a pilot sample for sample size determination, Statistics in Medicine 14
(1995).
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

from fgd_core.spec.comparison import CONFIDENCE
from fgd_core.statistics.welch import Sample, welch

POWER = 0.8
ASSURANCE = 0.8
"""The share of studies whose number of seeds suffices."""
MOST_SEEDS = 50
_CELLS = 20
"""Number of equally likely variances of each side over which the power is averaged."""

_Array: TypeAlias = npt.NDArray[np.float64]


def power(gain: float, groups: Sequence[Sample]) -> float:
    """Return the probability that Welch's test shows a true difference of `gain` in either direction, in [0, 1].

    Args:
        groups: both sides; their variances are taken for the true ones.
    """
    error = _error(groups)
    if error == 0:
        # No spread: any gain would be shown.
        return float(gain != 0)
    return _power(gain, error, _limits(groups))


def smallest_shown(groups: Sequence[Sample]) -> float:
    """Return the smallest true gain that these runs show with `POWER`."""
    error = _error(groups)
    if error == 0:
        return 0.0
    limits = _limits(groups)
    low, high = 0.0, error
    while _power(high, error, limits) < POWER:
        high *= 2
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if _power(middle, error, limits) < POWER else (low, middle)
    return high


def seeds_needed(gain: float, groups: Sequence[Sample]) -> int | None:
    """Return how many seeds a side show a true `gain` with `POWER`; None if more than `MOST_SEEDS`."""
    found = welch(*groups)
    if found is None or found.error == 0:
        return 2 if gain else None
    factor = found.freedom / float(special.chdtri(found.freedom, ASSURANCE))

    def suffices(seeds: int) -> bool:
        return power(gain, [_grown(each, seeds, factor) for each in groups]) >= POWER

    lowest = bisect_left(range(MOST_SEEDS + 1), True, lo=2, key=suffices)
    return lowest if lowest <= MOST_SEEDS else None


def _grown(of: Sample, seeds: int, factor: float) -> Sample:
    return Sample(mean=of.mean, count=seeds, variance=factor * of.variance, freedom=seeds - 1)


def _error(groups: Sequence[Sample]) -> float:
    """The true standard error of the difference."""
    return math.sqrt(sum(each.variance / each.count for each in groups))


def _limits(groups: Sequence[Sample]) -> _Array:
    """(_CELLS, _CELLS) differences that are significant, for each pair of variances that the sides may show."""
    above = 1 - (np.arange(_CELLS) + 0.5) / _CELLS
    first, second = (each.variance / each.count * special.chdtri(each.freedom, above) / each.freedom for each in groups)
    parts = np.meshgrid(first, second)
    total = parts[0] + parts[1]
    freedom = total**2 / sum(part**2 / each.freedom for part, each in zip(parts, groups, strict=True))
    # By interpolation, because a quantile takes as long as all the rest of a cell.
    knots = np.linspace(1 / freedom.max(), 1 / freedom.min(), 40)
    quantiles = special.stdtrit(1 / knots, (1 + CONFIDENCE) / 2)
    limits: _Array = np.interp(1 / freedom, knots, quantiles) * np.sqrt(total)
    return limits


def _power(gain: float, error: float, limits: _Array) -> float:
    return float((special.ndtr((gain - limits) / error) + special.ndtr((-gain - limits) / error)).mean())
