"""Predicts the final AP of a training from earlier trainings and from its own first epochs.

The AP of a run is the sum of four unknown numbers: the level of its family (detector, data and training, without
distillation), the gain that distillation has in this family, how much this configuration departs from that gain, and
the luck of the seed. Finished runs and the run's own curve observe sums of them.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from fgd_core.spec.prediction import LEVEL, PredictedValue
from service.jobs.forecast.early import early_line
from service.jobs.forecast.gaussian import Gaussian
from service.jobs.forecast.priors import PRIORS, Priors
from service.jobs.forecast.scales import Group, Scales, estimated, grouped
from service.jobs.forecast.trainings import Training
from service.jobs.seed_scores import t_quantile

_PLAIN, _PLAIN_RUN = (1.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 1.0)
_DISTILLED, _DISTILLED_RUN = (1.0, 1.0, 1.0, 0.0), (1.0, 1.0, 1.0, 1.0)
_ANOTHER_METHOD = (1.0, 1.0, 0.0, 0.0)
_GAIN = (0.0, 1.0, 1.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Predicted values of a training."""

    own: PredictedValue
    plain: PredictedValue | None
    gain: PredictedValue | None


def forecast(run: Training, earlier: Sequence[Training], priors: Priors = PRIORS) -> Forecast | None:
    """Predict what a training reaches; None if neither earlier runs on its data nor its own curve say anything.

    Args:
        run: with its curve so far; its `final` is not used.
        earlier: finished runs, of any data.
    """
    on_same_data = {each.family for each in earlier if each.data == run.data}
    if not on_same_data and not run.curve:
        return None
    groups = grouped(earlier)
    scales = estimated(groups, run.family, priors)
    belief = _before(run, scales, priors)
    for name in sorted(on_same_data - {run.family}):
        # One observation for a family of another detector or training: its runs share its difference.
        others = [group.mean for group in groups if group.family == name]
        belief = belief.observed(_PLAIN, statistics.fmean(others), priors.other_family_sd**2)
    for group in groups:
        if group.family == run.family:
            belief = _with_group(belief, run, group, scales)
    if run.curve:
        part, ap = run.curve[-1]
        line = early_line(part, ap, [each for each in earlier if each.family == run.family], priors)
        of_run = _PLAIN_RUN if run.is_plain else _DISTILLED_RUN
        belief = belief.observed([line.slope * each for each in of_run], ap - line.offset, line.variance)

    def value(weights: Sequence[float], more_variance: float = 0.0) -> PredictedValue:
        mean, sd = belief.of_sum(weights)
        half = t_quantile(scales.freedom, LEVEL) * math.hypot(sd, math.sqrt(more_variance))
        return PredictedValue(mean=mean, low=mean - half, high=mean + half)

    if run.is_plain:
        return Forecast(own=_as_ap(value(_PLAIN_RUN)), plain=None, gain=None)
    plain = _as_ap(value(_PLAIN, scales.seed_variance))
    return Forecast(own=_as_ap(value(_DISTILLED_RUN)), plain=plain, gain=value(_GAIN))


def _before(run: Training, scales: Scales, priors: Priors) -> Gaussian:
    """Return the belief before any run on the same data."""
    level, spread = priors.level, priors.level_sd**2
    share = scales.share if run.teacher_ap is not None else 0.0
    gain = share * (run.teacher_ap - level) if run.teacher_ap is not None else scales.gain
    # With a known teacher the gain is `share` times the distance to it, so a higher level means a smaller gain.
    covariance = (
        (spread, -share * spread, 0.0, 0.0),
        (-share * spread, share**2 * spread + priors.family_gain_sd**2, 0.0, 0.0),
        (0.0, 0.0, scales.method_variance, 0.0),
        (0.0, 0.0, 0.0, scales.seed_variance),
    )
    return Gaussian((level, gain, 0.0, 0.0), covariance)


def _with_group(belief: Gaussian, run: Training, group: Group, scales: Scales) -> Gaussian:
    variance = scales.seed_variance / len(group.finals)
    if group.is_plain:
        return belief.observed(_PLAIN, group.mean, variance)
    if group.configuration == run.configuration:
        return belief.observed(_DISTILLED, group.mean, variance)
    return belief.observed(_ANOTHER_METHOD, group.mean, variance + scales.method_variance)


def _as_ap(value: PredictedValue) -> PredictedValue:
    """Return the value with its ends in [0, 1], where AP is."""
    mean, low, high = (min(1.0, max(0.0, each)) for each in (value.mean, value.low, value.high))
    return PredictedValue(mean=mean, low=low, high=high)
