"""What the AP of a run at a part of its training says about its final AP."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from service.jobs.forecast.priors import Priors
from service.jobs.forecast.trainings import Training

_SLOPE_SD = 0.3
"""How far the slope of early over final AP may be from the recorded one."""


@dataclass(frozen=True, kw_only=True)
class EarlyLine:
    """The early AP as a linear function of the final AP, with an error."""

    slope: float
    offset: float
    variance: float


def early_line(part: float, ap: float, family: Sequence[Training], priors: Priors) -> EarlyLine:
    """Fit the line to the runs of a family, starting from the recorded shape of curves.

    Where early and final AP of these runs have nothing in common, the slope becomes small, and then an early AP says
    little.

    Args:
        part: of the training, in (0, 1].
        ap: the run's own AP there, which sets the scale if the family has no run.
        family: finished runs with the same detector, data and training.
    """
    ratio, deviation = priors.shape_at(part)
    known = [(each.final, each.best_at(part)) for each in family]
    pairs = [(final, early) for final, early in known if final is not None and early is not None]
    # Without another run, an early AP near 0 must not promise a final AP near 0.
    middle = statistics.fmean(final for final, _ in pairs) if pairs else max(ap / ratio, priors.level)
    expected_sd = deviation * ratio * max(middle, priors.seed_sd)
    # Departures from the recorded shape: their level, their slope, and what is left.
    points = [(final - middle, early - ratio * final) for final, early in pairs]
    level = sum(departure for _, departure in points) / (len(points) + 0.5)
    lever = sum(final**2 for final, _ in points) + (expected_sd / _SLOPE_SD) ** 2
    more = sum(final * (departure - level) for final, departure in points) / lever
    squares = sum((departure - level - more * final) ** 2 for final, departure in points)
    variance = (priors.weight * expected_sd**2 + squares) / (priors.weight + len(points))
    return EarlyLine(slope=ratio + more, offset=level - more * middle, variance=variance * (1 + 1 / (len(points) + 1)))
