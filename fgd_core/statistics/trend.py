"""A straight line through runs: whether a number changes with a setting, and by how much."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from fgd_core.spec.study_findings.trend import Level, Trend
from fgd_core.statistics.welch import mean_interval, t_quantile


def trend(of: str, over: str, levels: Mapping[float, Sequence[float]]) -> Trend | None:
    """Fit a line over the logarithm of a setting, by least squares over all runs.

    Args:
        of: what is measured.
        over: the setting.
        levels: the values of the runs by the value of the setting, above 0; NaN is left out.
    Returns:
        None for fewer than three runs or two levels.
    """
    known = {level: [value for value in values if not math.isnan(value)] for level, values in sorted(levels.items())}
    known = {level: values for level, values in known.items() if values}
    pairs = np.array([(math.log2(level), value) for level, values in known.items() for value in values])
    if len(known) < 2 or len(pairs) < 3:
        return None
    line = stats.linregress(*pairs.T)
    # Equal values have no correlation: the error of their line and its p would be NaN.
    is_flat = bool(np.ptp(pairs[:, 1]) == 0)
    half = 0.0 if is_flat else t_quantile(len(pairs) - 2) * line.stderr
    return Trend(
        of=of,
        over=over,
        levels=[_level(level, values) for level, values in known.items()],
        per_doubling=float(line.slope),
        low=float(line.slope - half),
        high=float(line.slope + half),
        p=1.0 if is_flat else float(line.pvalue),
    )


def _level(level: float, values: Sequence[float]) -> Level:
    interval = mean_interval(values)
    return Level(
        value=level,
        num_runs=len(values),
        mean=math.fsum(values) / len(values),
        low=interval.low if interval is not None else None,
        high=interval.high if interval is not None else None,
    )
