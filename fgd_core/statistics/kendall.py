"""Kendall's rank correlation and its interval."""

import math
from collections.abc import Sequence

import numpy as np

_Z = 1.959964
"""Of a 95 % interval."""
MIN_FOR_INTERVAL = 5


def kendall(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Kendall's tau-b; None for fewer than three pairs, and if one side does not vary.

    Without `scipy.stats`, whose import takes a third of the CPU time of a whole report; a test compares the two.
    """
    if len(pairs) < 3:
        return None
    first, second = np.array(pairs).T
    agreement = num_first = num_second = 0.0
    for at in range(len(pairs) - 1):
        one, other = (np.sign(values[at + 1 :] - values[at]) for values in (first, second))
        agreement += one @ other
        num_first += np.count_nonzero(one)
        num_second += np.count_nonzero(other)
    return float(agreement / math.sqrt(num_first * num_second)) if num_first and num_second else None


def interval(tau: float | None, num_pairs: int) -> tuple[float, float] | None:
    """Return the 95 % interval of Kendall's tau; None without tau, and for fewer than `MIN_FOR_INTERVAL` pairs.

    The inverse hyperbolic tangent of tau has about a normal distribution with the variance 0.437 / (n - 4). Tau is
    moved off ±1 by half a pair, where the tangent is infinite.

    Source: Fieller, Hartley and Pearson, Tests for rank correlation coefficients, Biometrika 44 (1957).
    """
    if tau is None or num_pairs < MIN_FOR_INTERVAL:
        return None
    most = 1 - 1 / (num_pairs * (num_pairs - 1) / 2)
    middle = math.atanh(min(max(tau, -most), most))
    half = _Z * math.sqrt(0.437 / (num_pairs - 4))
    return (-1.0 if tau <= -most else math.tanh(middle - half)), (1.0 if tau >= most else math.tanh(middle + half))
