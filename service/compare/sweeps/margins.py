"""Decides whether the winner of a sweep is better than another configuration, and by how much.

The promise: if no searched values differ from no distillation, at most 2.5 % of sweeps call the winner clearly better.
`benchmarks/sweep_verdicts.py` measures this rate. Three rules keep it:

* Only fresh seeds count. The run that chose a configuration for repeats is high by selection.
* The winner is the best of several repeated configurations. So its difference to a baseline is corrected after
  Bonferroni, for as many comparisons as there are configurations that could have won.
* Few seeds of one configuration say little about noise. So the variance is pooled over the repeated configurations,
  unless the winner's own is larger. The baseline keeps its own variance, because distilled and plain students may
  vary differently (Welch).
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal, TypeAlias

from fgd_core.spec.study_state import Direction, better
from fgd_core.spec.sweep_report import Margin, Standing
from fgd_core.statistics.welch import CONFIDENCE, Difference, Sample, sample, t_quantile, variance, welch
from service.compare.sweeps.configurations import BASELINES

SIGNIFICANT = 0.05
"""Two-sided: 2.5 % on either side."""
MOST_SEEDS = 20
"""The largest `seeds` of a sweep."""
_POWER = 0.8

_Unknown: TypeAlias = Literal["pending", "chosen_by_it", "few_seeds", "no_spread"]


def margin(
    winner: Standing, other: Standing, ranked: Sequence[Standing], direction: Direction, *, is_over: bool
) -> Margin:
    """Compare the winner with another configuration.

    Args:
        ranked: all configurations, for their noise and their number.
        is_over: whether the sweep is over. Before, nothing is decided, because each look would be another chance to
            be wrong.
    """
    found, why = difference(winner, other, ranked), _why_unknown(winner, other, is_over=is_over)
    if found is None:
        why = why or "no_spread"
    expected = shrunk_means(ranked)
    by = expected[winner.trial] - expected[other.trial]
    verdict: Literal["clear", "inside_noise", "unknown"] = "unknown"
    if why is None and found is not None:
        verdict = "clear" if found.p_value < SIGNIFICANT else "inside_noise"
    measured = fmean(winner.seed_values) - fmean(other.seed_values)
    return Margin(
        trial=other.trial,
        difference=by,
        measured=measured,
        interval=found.interval if found is not None else None,
        p_value=found.p_value if found is not None else None,
        comparisons=_comparisons(winner, other, ranked),
        is_better=better(measured, 0.0, direction),
        verdict=verdict,
        why_unknown=why,
        seeds_to_tell=_seeds_to_tell(by, winner, other, ranked) if verdict == "inside_noise" else None,
    )


def difference(winner: Standing, other: Standing, ranked: Sequence[Standing]) -> Difference | None:
    """Winner minus other; None if a side has fewer than two seeds that count, or nothing has any spread."""
    # Before the noise of all configurations is pooled: most configurations of a sweep have one seed.
    if len(winner.seed_values) < 2 or len(other.seed_values) < 2:
        return None
    first, second = _samples(winner, other, ranked)
    if first is None or second is None:
        return None
    return welch(first, second, comparisons=_comparisons(winner, other, ranked))


def shrunk_means(ranked: Sequence[Standing]) -> dict[int, float]:
    """Estimate the mean that each configuration would have with many more seeds, by trial.

    The winner is partly the best by luck. So the mean x of each repeated configuration (n seeds) is shrunk towards the
    mean m of all repeated ones: m + (x − m) · τ² / (τ² + v/n). Here v is the variance of a single run, pooled over the
    configurations; τ², the variance of the true means, is the variance of the means x minus the average of v/n, at
    least 0; m is weighted by 1 / (τ² + v/n). Without any effect little of a difference remains.
    The mean of a configuration that was not repeated does not change.

    Source: Efron and Morris, Data Analysis Using Stein's Estimator and its Generalizations, JASA 70 (1975), with τ² by
    the method of moments.
    """
    means = {each.trial: fmean(each.seed_values) for each in ranked}
    repeated = [each for each in ranked if is_repeated(each) or len(each.seed_values) > 1]
    noise = pooled([each.seed_values for each in repeated])
    if len(repeated) < 2 or noise is None:
        return means
    found = [means[each.trial] for each in repeated]
    errors = [noise[0] / len(each.seed_values) for each in repeated]
    of_truth = max(0.0, variance(found) - fmean(errors))
    totals = [of_truth + error for error in errors]
    if min(totals) == 0:
        return means
    middle = sum(x / total for x, total in zip(found, totals, strict=True)) / sum(1 / total for total in totals)
    return means | {
        each.trial: middle + (x - middle) * of_truth / total
        for each, x, total in zip(repeated, found, totals, strict=True)
    }


def is_repeated(each: Standing) -> bool:
    """Whether it was searched and then repeated with fresh seeds."""
    return each.origin not in BASELINES and (each.chosen_at is not None or len(each.trials) > 1)


def pooled(groups: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """Return the variance of a single run within groups of runs, and its degrees of freedom."""
    repeated = [values for values in groups if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    if not freedom:
        return None
    return sum((len(values) - 1) * variance(values) for values in repeated) / freedom, freedom


def with_pool(values: Sequence[float], pool: tuple[float, int] | None) -> Sample | None:
    """Summarise the runs of a repeated configuration, with the pooled variance unless its own is larger.

    Args:
        pool: what `pooled` returned for all repeated configurations.
    """
    own = sample(values)
    if own is None or pool is None:
        return own
    return Sample(mean=own.mean, count=own.count, variance=max(own.variance, pool[0]), freedom=pool[1])


def _samples(winner: Standing, other: Standing, ranked: Sequence[Standing]) -> tuple[Sample | None, Sample | None]:
    pool = pooled([each.seed_values for each in ranked if is_repeated(each)])
    return _sample(winner, pool), _sample(other, pool)


def _sample(each: Standing, pool: tuple[float, int] | None) -> Sample | None:
    return with_pool(each.seed_values, pool) if is_repeated(each) else sample(each.seed_values)


def _comparisons(winner: Standing, other: Standing, ranked: Sequence[Standing]) -> int:
    """Two repeated configurations need no correction: the best two of several are closer than a random two."""
    if is_repeated(winner) and is_repeated(other):
        return 1
    return max(1, sum(len(each.seed_values) > 1 for each in ranked) - 1)


def _why_unknown(winner: Standing, other: Standing, *, is_over: bool) -> _Unknown | None:
    if not is_over:
        return "pending"
    if winner.origin not in BASELINES and not is_repeated(winner):
        return "chosen_by_it"
    return "few_seeds" if min(len(winner.seed_values), len(other.seed_values)) < 2 else None


def _seeds_to_tell(by: float, winner: Standing, other: Standing, ranked: Sequence[Standing]) -> int | None:
    """The number of `seeds` with which a difference like this would be clear four times in five."""
    first, second = _samples(winner, other, ranked)
    comparisons = _comparisons(winner, other, ranked)
    if first is None or second is None or by == 0:
        return None
    for seeds in range(max(first.count, second.count) + 1, MOST_SEEDS + 1):
        more = seeds - max(first.count, second.count)
        test = welch(_grown(first, more), _grown(second, more))
        if test is None:
            return None
        clear = t_quantile(test.freedom, 1 - (1 - CONFIDENCE) / comparisons)
        if abs(by) >= (clear + t_quantile(test.freedom, 2 * _POWER - 1)) * test.error:
            return seeds
    return None


def _grown(of: Sample, more: int) -> Sample:
    freedom = of.freedom * (of.count + more - 1) / (of.count - 1)
    return Sample(mean=of.mean, count=of.count + more, variance=of.variance, freedom=freedom)
