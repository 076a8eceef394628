"""A joint normal distribution of a few unknown numbers, narrowed by one noisy observation at a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Vector = Sequence[float]


@dataclass(frozen=True)
class Gaussian:
    """The mean and the covariance of n numbers."""

    mean: Vector
    covariance: Sequence[Vector]

    def observed(self, weights: Vector, value: float, variance: float) -> "Gaussian":
        """Return the distribution after an observation of a weighted sum of the numbers.

        Args:
            weights: (n,) of the sum.
            value: the observed sum.
            variance: of the observation's own error; above 0.
        Source: the update of a Kalman filter.
        """
        reach = [_dot(row, weights) for row in self.covariance]  # (n,), covariance with the sum
        step = [each / (_dot(weights, reach) + variance) for each in reach]
        surprise = value - _dot(weights, self.mean)
        mean = [old + each * surprise for old, each in zip(self.mean, step, strict=True)]
        covariance = [
            [old - ours * theirs for old, theirs in zip(row, reach, strict=True)]
            for row, ours in zip(self.covariance, step, strict=True)
        ]
        return Gaussian(mean, covariance)

    def of_sum(self, weights: Vector) -> tuple[float, float]:
        """Return the mean and the standard deviation of a weighted sum of the numbers."""
        variance = _dot(weights, [_dot(row, weights) for row in self.covariance])
        return _dot(weights, self.mean), math.sqrt(max(0.0, variance))


def _dot(first: Vector, second: Vector) -> float:
    return sum(one * other for one, other in zip(first, second, strict=True))
