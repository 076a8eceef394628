"""Compares how much the runs of two arms vary over seeds."""

import math
from collections.abc import Sequence

from scipy import special

from fgd_core.spec.comparison import CONFIDENCE
from fgd_core.spec.study_findings.why import Spread
from fgd_core.statistics.welch import Sample


def spread(plain: Sequence[Sample], distilled: Sequence[Sample]) -> Spread | None:
    """Compare the variance around the mean of each setting, by the F-test.

    The test needs runs that are about normally distributed, as APs of seeds are.

    Args:
        plain, distilled: the runs of the same settings. Runs may vary more in one setting than in another: the degrees
            of freedom are then those of Satterthwaite.
    Returns:
        None without settings, or if the runs of an arm do not vary.
    """
    first, second = _pooled(plain), _pooled(distilled)
    if first is None or second is None:
        return None
    (own, freedom), (other, other_freedom) = first, second
    ratio = other / own
    below = float(special.fdtr(other_freedom, freedom, ratio))
    tail = (1 - CONFIDENCE) / 2
    low, high = (ratio / special.fdtri(other_freedom, freedom, share) for share in (1 - tail, tail))
    return Spread(
        plain=math.sqrt(own),
        distilled=math.sqrt(other),
        ratio=math.sqrt(ratio),
        low=math.sqrt(low),
        high=math.sqrt(high),
        p=2 * min(below, 1 - below),
    )


def _pooled(samples: Sequence[Sample]) -> tuple[float, float] | None:
    """Return the mean variance and its degrees of freedom."""
    total = sum(each.variance for each in samples)
    if total == 0:
        return None
    shares = [each.variance / total for each in samples]
    freedom = 1 / sum(share**2 / each.freedom for share, each in zip(shares, samples, strict=True))
    return total / len(samples), freedom
