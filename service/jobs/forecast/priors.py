"""What recorded trainings say about trainings in general. Runs of the user's own replace it one by one.

`python -m benchmarks.prediction` prints these numbers for the recorded runs.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Priors:
    """Scales of AP, from 0 to 1. Each counts as much as `weight` observations of one's own."""

    weight: int = 3
    level: float = 0.3
    """AP of a detector about which nothing is known."""
    level_sd: float = 0.25
    other_family_sd: float = 0.12
    """Difference in AP between detectors or trainings on the same data."""
    seed_sd: float = 0.015
    """Between runs that differ only in the seed."""
    share: float = 0.2
    """The gain of a distillation as a part of the distance between the teacher and the plain detector."""
    gain: float = 0.01
    """The gain of a distillation whose teacher's AP is unknown."""
    family_gain_sd: float = 0.025
    """Of the gains between families, around this expectation."""
    method_gain_sd: float = 0.015
    """Of the gains between configurations of a family."""
    shape: Sequence[tuple[float, float, float]] = (
        (0.0, 0.02, 1.0),
        (0.1, 0.30, 0.60),
        (0.2, 0.50, 0.40),
        (0.4, 0.75, 0.20),
        (0.6, 0.88, 0.10),
        (0.8, 0.96, 0.05),
        (1.0, 1.00, 0.02),
    )
    """(part of the training, best AP until there as a part of the final AP, its relative standard deviation)."""

    def shape_at(self, part: float) -> tuple[float, float]:
        """Return the expected part of the final AP at a part of the training, and its relative deviation."""
        index = min(max(1, bisect_left([at for at, *_ in self.shape], part)), len(self.shape) - 1)
        (left, *low), (right, *high) = self.shape[index - 1], self.shape[index]
        share = (min(max(part, left), right) - left) / (right - left)
        ratio, deviation = (ours + share * (theirs - ours) for ours, theirs in zip(low, high, strict=True))
        return ratio, deviation


PRIORS = Priors()
