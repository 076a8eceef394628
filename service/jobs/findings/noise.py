"""What a few seeds tell: intervals and differences by Student's t.

Written out, for the control plane starts without SciPy, which takes longer to import than all of this takes to run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from fgd_core.spec.sweep_report import Interval

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class WelchTest:
    """Of two means, without the assumption that both vary alike."""

    interval: Interval
    """Of the first mean minus the second."""
    p_value: float
    """Two-sided."""


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Where the mean lies; None for fewer than two values, which say nothing about noise."""
    if len(values) < 2:
        return None
    half = t_quantile(len(values) - 1) * math.sqrt(variance(values) / len(values))
    return Interval(low=fmean(values) - half, high=fmean(values) + half)


def welch(values: Sequence[float], others: Sequence[float]) -> WelchTest | None:
    """None where either side has fewer than two values.

    Source: Welch 1947; degrees of freedom by Satterthwaite.
    """
    if len(values) < 2 or len(others) < 2:
        return None
    difference = fmean(values) - fmean(others)
    part, other_part = variance(values) / len(values), variance(others) / len(others)
    error = math.sqrt(part + other_part)
    if error == 0:
        return WelchTest(interval=Interval(low=difference, high=difference), p_value=1.0 if difference == 0 else 0.0)
    # Relative to their sum: the squares of small variances would be zero.
    share, other_share = part / (part + other_part), other_part / (part + other_part)
    freedom = 1 / (share**2 / (len(values) - 1) + other_share**2 / (len(others) - 1))
    half = t_quantile(freedom) * error
    return WelchTest(
        interval=Interval(low=difference - half, high=difference + half),
        p_value=two_sided_p(difference / error, freedom),
    )


def two_sided_p(t: float, freedom: float) -> float:
    """How likely Student's t lies at least so far from 0."""
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


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
