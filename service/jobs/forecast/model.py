"""Predicts the final AP of a training from earlier trainings and from its own first epochs.

The AP of a run is the sum of four unknown numbers: the level of its family (detector, data and training, without
distillation), the gain that distillation has in this family, how much this configuration departs from that gain, and
the luck of the seed. Finished runs and the run's own curve observe sums of them.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from fgd_core.spec.prediction import LEVEL, PredictedValue
from service.jobs.forecast.gaussian import Gaussian
from service.jobs.forecast.priors import PRIORS, Priors
from service.jobs.forecast.trainings import Training
from service.jobs.seed_scores import t_quantile

_LEVEL, _METHOD_GAIN = (1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0)
_PLAIN_RUN, _DISTILLED, _DISTILLED_RUN = (1.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0, 0.0), (1.0, 1.0, 1.0, 1.0)
_GAIN = (0.0, 1.0, 1.0, 0.0)
_SLOPE_SD = 0.3
"""How far the slope of early over final AP may be from the recorded one."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Predicted values of a training."""

    own: PredictedValue
    plain: PredictedValue | None
    gain: PredictedValue | None


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Finished runs of one configuration."""

    configuration: str
    family: str
    is_plain: bool
    teacher_ap: float | None
    finals: Sequence[float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.finals)


def forecast(run: Training, earlier: Sequence[Training], priors: Priors = PRIORS) -> Forecast | None:
    """Predict what a training reaches; None if neither earlier runs on its data nor its own curve say anything.

    Args:
        run: with its curve so far; its `final` is not used.
        earlier: finished runs, of any data.
    """
    groups = _groups(earlier)
    own_data = {each.family for each in earlier if each.data == run.data}
    family = [group for group in groups if group.family == run.family]
    if not own_data and not run.curve:
        return None
    seed_variance, freedom = _seed_variance(family, priors)
    belief = _before(run, groups, seed_variance, priors)
    for name in sorted(own_data - {run.family}):
        # One observation for a family of another detector or training: its runs share its difference.
        others = [group.mean for group in groups if group.family == name]
        belief = belief.observed(_LEVEL, statistics.fmean(others), priors.other_family_sd**2)
    for group in family:
        belief = _with_group(belief, run, group, seed_variance, priors)
    belief = _with_curve(belief, run, [each for each in earlier if each.family == run.family], priors)

    def value(weights: Sequence[float], more_variance: float = 0.0) -> PredictedValue:
        mean, sd = belief.of_sum(weights)
        half = t_quantile(freedom, LEVEL) * math.hypot(sd, math.sqrt(more_variance))
        return PredictedValue(mean=mean, low=mean - half, high=mean + half)

    if run.is_plain:
        return Forecast(own=_as_ap(value(_PLAIN_RUN)), plain=None, gain=None)
    plain = _as_ap(value(_LEVEL, seed_variance))
    return Forecast(own=_as_ap(value(_DISTILLED_RUN)), plain=plain, gain=value(_GAIN))


def _groups(earlier: Sequence[Training]) -> list[_Group]:
    key = attrgetter("family", "configuration", "is_plain")
    found = []
    for (family, configuration, is_plain), members in groupby(sorted(earlier, key=key), key=key):
        runs = list(members)
        known = [each.teacher_ap for each in runs if each.teacher_ap is not None]
        found.append(
            _Group(
                configuration=configuration,
                family=family,
                is_plain=is_plain,
                teacher_ap=known[-1] if known else None,
                finals=[each.final for each in runs if each.final is not None],
            )
        )
    return [group for group in found if group.finals]


def _seed_variance(family: Sequence[_Group], priors: Priors) -> tuple[float, int]:
    """Return the variance between seeds, and the degrees of freedom that it has."""
    squares = sum(sum((final - group.mean) ** 2 for final in group.finals) for group in family)
    freedom = sum(len(group.finals) - 1 for group in family)
    return (priors.weight * priors.seed_sd**2 + squares) / (priors.weight + freedom), round(priors.weight) + freedom


def _before(run: Training, groups: Sequence[_Group], seed_variance: float, priors: Priors) -> Gaussian:
    """Return the belief before any run of the family."""
    share, gain = _expected_gain(groups, priors)
    level, spread = priors.level, priors.level_sd**2
    if run.teacher_ap is None:
        share = 0.0
    else:
        gain = share * (run.teacher_ap - level)
    # With a known teacher the gain is `share` times the distance to it, so a higher level means a smaller gain.
    covariance = (
        (spread, -share * spread, 0.0, 0.0),
        (-share * spread, share**2 * spread + priors.family_gain_sd**2, 0.0, 0.0),
        (0.0, 0.0, priors.method_gain_sd**2, 0.0),
        (0.0, 0.0, 0.0, seed_variance),
    )
    return Gaussian((level, gain, 0.0, 0.0), covariance)


def _expected_gain(groups: Sequence[_Group], priors: Priors) -> tuple[float, float]:
    """Return the gain as a share of the distance to the teacher, and the gain without a known teacher.

    Each family with plain and distilled runs counts once, and the priors as much as `weight` families.
    """
    plain = {group.family: group.mean for group in groups if group.is_plain}
    gaps: Mapping[str, list[tuple[float, float]]] = {family: [] for family in plain}
    gains: Mapping[str, list[float]] = {family: [] for family in plain}
    for group in groups:
        if group.is_plain or group.family not in plain:
            continue
        gains[group.family].append(group.mean - plain[group.family])
        if group.teacher_ap is not None:
            gaps[group.family].append((group.teacher_ap - plain[group.family], gains[group.family][-1]))
    means = [statistics.fmean(each) for each in gains.values() if each]
    gain = (priors.weight * priors.gain + sum(means)) / (priors.weight + len(means))
    # Least squares through the origin, towards the prior's share at a usual distance of 0.1.
    usual = priors.weight * 0.1**2
    pairs = [
        (statistics.fmean(gap for gap, _ in each), statistics.fmean(g for _, g in each))
        for each in gaps.values()
        if each
    ]
    share = (usual * priors.share + sum(gap * g for gap, g in pairs)) / (usual + sum(gap**2 for gap, _ in pairs))
    return share, gain


def _with_group(belief: Gaussian, run: Training, group: _Group, seed_variance: float, priors: Priors) -> Gaussian:
    variance = seed_variance / len(group.finals)
    if group.is_plain:
        return belief.observed(_LEVEL, group.mean, variance)
    if group.configuration == run.configuration:
        return belief.observed(_DISTILLED, group.mean, variance)
    return belief.observed(_METHOD_GAIN, group.mean, variance + priors.method_gain_sd**2)


def _with_curve(belief: Gaussian, run: Training, family: Sequence[Training], priors: Priors) -> Gaussian:
    """Observe the newest AP of the run, as a linear function of its final AP that the family's runs give."""
    if not run.curve:
        return belief
    part, ap = run.curve[-1]
    ratio, deviation = priors.shape_at(part)
    pairs = [
        (each.final, early) for each in family if each.final is not None and (early := each.best_at(part)) is not None
    ]
    finals = [final for final, _ in pairs]
    middle = statistics.fmean(finals) if finals else ap / ratio
    expected_sd = deviation * ratio * max(middle, priors.seed_sd)
    departures = [early - ratio * final for final, early in pairs]
    offset = sum(departures) / (len(pairs) + 0.5)
    lever = sum((final - middle) ** 2 for final in finals) + (expected_sd / _SLOPE_SD) ** 2
    more_slope = sum((final - middle) * (each - offset) for final, each in zip(finals, departures, strict=True)) / lever
    squares = sum(
        (each - offset - more_slope * (final - middle)) ** 2 for final, each in zip(finals, departures, strict=True)
    )
    variance = (priors.weight * expected_sd**2 + squares) / (priors.weight + len(pairs))
    weights = _PLAIN_RUN if run.is_plain else _DISTILLED_RUN
    slope = ratio + more_slope
    return belief.observed(
        [slope * each for each in weights], ap - offset + more_slope * middle, variance * (1 + 1 / (len(pairs) + 1))
    )


def _as_ap(value: PredictedValue) -> PredictedValue:
    """Return the value with its ends in [0, 1], where AP is."""
    mean, low, high = (min(1.0, max(0.0, each)) for each in (value.mean, value.low, value.high))
    return PredictedValue(mean=mean, low=low, high=high)
