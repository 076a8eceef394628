"""How much trainings differ: between seeds, between methods, and from the plain detector towards the teacher.

Each estimate begins with its prior and follows the runs as they accumulate.
"""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from service.jobs.forecast.priors import Priors
from service.jobs.forecast.trainings import Training

_USUAL_DISTANCE = 0.1
"""Between the teacher's AP and the plain detector's."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Finished runs of one configuration."""

    family: str
    configuration: str
    is_plain: bool
    teacher_ap: float | None
    finals: Sequence[float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.finals)


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Variances are squares of AP."""

    seed_variance: float
    freedom: int
    """Degrees of freedom of the variance between seeds."""
    method_variance: float
    """Between the mean gains of the methods of a family."""
    share: float
    """The mean gain as a part of the distance between the teacher and the plain detector."""
    gain: float
    """The mean gain if the teacher's AP is unknown."""


def grouped(runs: Sequence[Training]) -> list[Group]:
    """Return the configurations of finished runs."""
    key = attrgetter("family", "configuration", "is_plain")
    found = []
    for (family, configuration, is_plain), members in groupby(sorted(runs, key=key), key=key):
        known = [(each.final, each.teacher_ap) for each in members if each.final is not None]
        if known:
            teacher_ap = next((ap for _, ap in known if ap is not None), None)
            finals = [final for final, _ in known]
            found.append(
                Group(
                    family=family,
                    configuration=configuration,
                    is_plain=is_plain,
                    teacher_ap=teacher_ap,
                    finals=finals,
                )
            )
    return found


def estimated(groups: Sequence[Group], family: str, priors: Priors) -> Scales:
    """Return the scales for a run of a family; the variance between seeds is that of the family alone."""
    of_seeds = [group.finals for group in groups if group.family == family]
    seed_variance, freedom = _pooled(of_seeds, priors.seed_sd**2, priors.weight)
    distilled: Mapping[str, list[float]] = defaultdict(list)
    for group in groups:
        if not group.is_plain:
            distilled[group.family].append(group.mean)
    method_variance, _ = _pooled(list(distilled.values()), priors.method_gain_sd**2, priors.weight)
    share, gain = _expected_gain(groups, priors)
    return Scales(seed_variance=seed_variance, freedom=freedom, method_variance=method_variance, share=share, gain=gain)


def _pooled(samples: Sequence[Sequence[float]], variance: float, weight: int) -> tuple[float, int]:
    """Return the variance within the samples and its degrees of freedom, of which `weight` are those of the prior."""
    squares = sum(sum((value - statistics.fmean(values)) ** 2 for value in values) for values in samples)
    freedom = weight + sum(len(values) - 1 for values in samples)
    return (weight * variance + squares) / freedom, freedom


def _expected_gain(groups: Sequence[Group], priors: Priors) -> tuple[float, float]:
    """Return the gain as a share of the distance to the teacher, and the gain without a known teacher.

    Each family with plain and distilled runs counts once, and the priors as much as `weight` families.
    """
    plain = {group.family: group.mean for group in groups if group.is_plain}
    gains: Mapping[str, list[float]] = defaultdict(list)
    distances: Mapping[str, list[float]] = defaultdict(list)
    for group in groups:
        if not group.is_plain and group.family in plain:
            gains[group.family].append(group.mean - plain[group.family])
            if group.teacher_ap is not None:
                distances[group.family].append(group.teacher_ap - plain[group.family])
    means = {family: statistics.fmean(each) for family, each in gains.items()}
    gain = (priors.weight * priors.gain + sum(means.values())) / (priors.weight + len(means))
    # Least squares through the origin.
    pairs = [(statistics.fmean(each), means[family]) for family, each in distances.items()]
    usual = priors.weight * _USUAL_DISTANCE**2
    products = usual * priors.share + sum(distance * mean for distance, mean in pairs)
    return products / (usual + sum(distance**2 for distance, _ in pairs)), gain
