"""Summarizes what runs with different seeds reached."""

import math
import statistics
from collections.abc import Sequence
from functools import cache

from fgd_core.spec.comparison import CONFIDENCE
from fgd_core.spec.seed_groups import SeedScores

_NUM_HALVINGS = 60


def summarize(values: Sequence[float]) -> SeedScores | None:
    """Return the mean of the runs and its confidence interval; None without a value."""
    if not values:
        return None
    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        return SeedScores(n=n, mean=mean, std=None, low=None, high=None)
    std = statistics.stdev(values)
    half = t_quantile(n - 1) * std / math.sqrt(n)
    return SeedScores(n=n, mean=mean, std=std, low=mean - half, high=mean + half)


@cache
def t_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """Return the t that Student's distribution exceeds in neither direction with the probability `confidence`.

    SciPy has it, but this process starts without SciPy: see decision 71.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _probability_within(middle, degrees) < confidence else (low, middle)
    return math.tan(low) * math.sqrt(degrees)


def _probability_within(angle: float, degrees: int) -> float:
    """Return the probability that |t| is at most `tan(angle) * sqrt(degrees)`."""
    is_odd, cosine = degrees % 2, math.cos(angle)
    series, term = 0.0, cosine**is_odd
    for power in range(is_odd, degrees - 1, 2):
        series += term
        term *= cosine**2 * (power + 1) / (power + 2)
    series *= math.sin(angle)
    return 2 / math.pi * (angle + series) if is_odd else series
