"""Welch's t-test over runs with different seeds, and the interval of their mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy import special

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
class Difference:
    """The difference of two means, with its standard error."""

    value: float
    error: float
    """Standard error of `value`; 0 only if `value` is 0."""
    freedom: float
    comparisons: int = 1
    """The difference is the largest of this many: Bonferroni's method corrects `p_value` and `interval`."""

    @property
    def p_value(self) -> float:
        """Two-sided."""
        if self.error == 0:
            return 1.0
        return min(1.0, self.comparisons * two_sided_p(self.value / self.error, self.freedom))

    @property
    def interval(self) -> Interval:
        """The interval in which the true difference lies with `CONFIDENCE`."""
        half = 0.0
        if self.error:
            half = t_quantile(self.freedom, 1 - (1 - CONFIDENCE) / self.comparisons) * self.error
        return Interval(low=self.value - half, high=self.value + half)


def sample(values: Sequence[float]) -> Sample | None:
    """Summarise runs; None for fewer than two values, which say nothing about noise."""
    if len(values) < 2:
        return None
    return Sample(mean=fmean(values), count=len(values), variance=variance(values), freedom=len(values) - 1)


def variance(values: Sequence[float]) -> float:
    """Return the variance of at least two values.

    `statistics.variance` computes with fractions, which takes 50 times as long.
    """
    if min(values) == max(values):
        return 0.0  # Exactly: the mean of equal values may be rounded.
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The interval of the mean by Student's t; None for fewer than two values."""
    found = sample(values)
    if found is None:
        return None
    half = t_quantile(found.freedom) * math.sqrt(found.variance / found.count)
    return Interval(low=found.mean - half, high=found.mean + half)


def welch(first: Sample, second: Sample, *, comparisons: int = 1) -> Difference | None:
    """First minus second, where the two may have different variances.

    Returns:
        None if neither side has any spread and the means differ: then chance cannot be measured.
    Source: Welch 1947; degrees of freedom by Satterthwaite.
    """
    value = first.mean - second.mean
    part, other_part = first.variance / first.count, second.variance / second.count
    if part + other_part == 0:
        return Difference(value=0.0, error=0.0, freedom=1.0, comparisons=comparisons) if value == 0 else None
    # Shares of the sum: the squares of small variances would underflow to zero.
    share, other_share = part / (part + other_part), other_part / (part + other_part)
    freedom = 1 / (share**2 / first.freedom + other_share**2 / second.freedom)
    smaller, larger = sorted((first, second), key=lambda each: each.count)
    if larger.count >= 2 * smaller.count:
        # Two seeds may agree by chance. Then Welch's freedom is that of the larger side, and with two seeds against
        # ten, one difference in ten would be called real where there is none.
        freedom = min(freedom, 2 * smaller.freedom)
    return Difference(value=value, error=math.sqrt(part + other_part), freedom=freedom, comparisons=comparisons)


def two_sided_p(t: float, freedom: float) -> float:
    """The probability that Student's t is at least this far from 0."""
    return float(2 * special.stdtr(freedom, -abs(t)))


def t_quantile(freedom: float, confidence: float = CONFIDENCE) -> float:
    """The t within which `confidence` of the distribution lies."""
    return float(special.stdtrit(freedom, (1 + confidence) / 2))
