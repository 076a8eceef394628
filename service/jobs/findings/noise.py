"""What a few seeds say: intervals and differences by Student's t.

Written out, because the control plane starts without SciPy, whose import takes longer than all of this takes to run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, variance

from fgd_core.spec.sweep_report import Interval

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The runs of one configuration with several seeds."""

    mean: float
    count: int
    variance: float
    """Of a single run."""
    freedom: float
    """Degrees of freedom of `variance`."""


@dataclass(frozen=True, kw_only=True)
class Apart:
    """How far two means lie apart, and by how much chance alone moves them."""

    difference: float
    error: float
    """Standard error of `difference`; 0 only where `difference` is 0."""
    freedom: float
    comparisons: int = 1
    """Differences of which this one is the largest: `p_value` and `interval` are corrected after Bonferroni."""

    @property
    def p_value(self) -> float:
        """Two-sided."""
        if self.error == 0:
            return 1.0
        return min(1.0, self.comparisons * two_sided_p(self.difference / self.error, self.freedom))

    @property
    def interval(self) -> Interval:
        half = 0.0
        if self.error:
            half = t_quantile(self.freedom, 1 - (1 - CONFIDENCE) / self.comparisons) * self.error
        return Interval(low=self.difference - half, high=self.difference + half)


def sample(values: Sequence[float]) -> Sample | None:
    """None for fewer than two values, which say nothing about noise."""
    if len(values) < 2:
        return None
    return Sample(mean=fmean(values), count=len(values), variance=variance(values), freedom=len(values) - 1)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Where the mean lies; None for fewer than two values, which say nothing about noise."""
    found = sample(values)
    if found is None:
        return None
    half = t_quantile(found.freedom) * math.sqrt(found.variance / found.count)
    return Interval(low=found.mean - half, high=found.mean + half)


def apart(first: Sample, second: Sample, *, comparisons: int = 1) -> Apart | None:
    """First minus second; the two may vary differently.

    None where both sides show no spread at all and still differ: then nothing is known of what chance can do.

    Source: Welch 1947; degrees of freedom by Satterthwaite.
    """
    difference = first.mean - second.mean
    part, other_part = first.variance / first.count, second.variance / second.count
    if part + other_part == 0:
        return Apart(difference=0.0, error=0.0, freedom=1.0, comparisons=comparisons) if difference == 0 else None
    # Relative to their sum: the squares of small variances would be zero.
    share, other_share = part / (part + other_part), other_part / (part + other_part)
    freedom = 1 / (share**2 / first.freedom + other_share**2 / second.freedom)
    smaller, larger = sorted((first, second), key=lambda each: each.count)
    if larger.count >= 2 * smaller.count:
        # Two seeds may agree by chance. Then Welch's freedom is that of the larger side: of two seeds against ten, one
        # difference in ten would be called real where there is none.
        freedom = min(freedom, 2 * smaller.freedom)
    return Apart(
        difference=difference,
        error=math.sqrt(part + other_part),
        freedom=freedom,
        comparisons=comparisons,
    )


def welch(values: Sequence[float], others: Sequence[float]) -> Apart | None:
    """None where either side has fewer than two values, and where `apart` has none."""
    first, second = sample(values), sample(others)
    return apart(first, second) if first is not None and second is not None else None


def two_sided_p(t: float, freedom: float) -> float:
    """How likely Student's t lies at least so far from 0."""
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


@lru_cache(maxsize=256)
def t_quantile(freedom: float, confidence: float = CONFIDENCE) -> float:
    """The t within which `confidence` of the distribution lies."""
    low, high = 0.0, 1.0
    while two_sided_p(high, freedom) > 1 - confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, freedom) > 1 - confidence else (low, middle)
    return high


def kendall(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Kendall's tau-b, which minds ties; None for fewer than three pairs, and where one side is all alike."""
    if len(xs) < 3:
        return None
    agree = x_apart = y_apart = 0
    for index, (x, y) in enumerate(zip(xs, ys, strict=True)):
        for other_x, other_y in zip(xs[:index], ys[:index], strict=True):
            x_sign, y_sign = (x > other_x) - (x < other_x), (y > other_y) - (y < other_y)
            agree += x_sign * y_sign
            x_apart += x_sign != 0
            y_apart += y_sign != 0
    return agree / math.sqrt(x_apart * y_apart) if x_apart and y_apart else None


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        # Beyond here the fraction converges slowly; from the other end, fast.
        return 1 - _incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """1 + d1 / (1 + d2 / (1 + …)), summed by Lentz's method. Source: Abramowitz and Stegun 26.5.8."""
    tiny = 1e-300
    value = up = 1.0
    down = 0.0
    for step in range(1, 500):
        half = step // 2
        if step % 2:
            term = -(a + half) * (a + b + half) * x / ((a + step - 1) * (a + step))
        else:
            term = half * (b - half) * x / ((a + step - 1) * (a + step))
        down = 1 / (1 + term * down or tiny)
        up = 1 + term / up or tiny
        value *= up * down
        if abs(up * down - 1) < 1e-15:
            break
    return value
