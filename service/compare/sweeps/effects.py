"""Tests which dimensions mattered, and says what it would cost to know more.

The promise: of the dimensions without any effect, none is said to matter in at least 95 % of sweeps, and all intervals
of a report hold together in at least 95 %. `benchmarks/sweep_importance.py` measures both.
`drawn_trials` says which trials count.
"""

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from fgd_core.spec.dimensions import Choice, Dimension
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.search import PopulationBased
from fgd_core.spec.sweep_effects import DimensionEffect, Effects, ValueEffect
from fgd_core.spec.sweep_report import TrialView
from fgd_core.statistics.welch import CONFIDENCE, t_quantile
from service.compare.sweeps import effect_wording, randomised
from service.compare.sweeps.drawn_trials import compared_epoch, drawn_at_random, num_random, sample, value_at
from service.compare.sweeps.randomised import Drawn
from service.jobs.metric_text import is_score, value_text
from service.jobs.trial_values import MIN_COMPARED

SIGNIFICANT = 0.05
SCORE_EFFECT = 0.01
"""The difference of a score that matters."""


def effects(spec: SweepSpec, trials: Sequence[TrialView]) -> Effects:
    """Test all dimensions of a sweep that is over."""
    drawn = drawn_at_random(spec, trials)
    epoch = compared_epoch(spec, drawn)
    counted = [(trial.values, value) for trial in drawn if (value := value_at(trial, epoch, spec)) is not None]
    why = _why_untested(spec, len(counted))
    dimensions = spec.dimensions()
    samples = {} if why else {path: sample(spec, path, counted) for path in dimensions}
    tested = {path: each for path, each in samples.items() if len(each.values) >= MIN_COMPARED and each.is_testable}
    adjusted = randomised.holm(randomised.p_values(tested))
    cost = _Cost(spec, trials, num_counted=len(counted), num_tests=len(tested))
    found = [_effect(path, tested[path], p, cost) for path, p in adjusted.items()]
    untested = [_untested(path, samples[path]) for path in samples if path not in tested] if tested else []
    result = Effects(
        dimensions=[*found, *untested],
        num_trials=len(counted),
        num_adaptive=sum(trial.origin in ("searcher", "user", "fork") for trial in trials) - len(drawn),
        num_without_value=len(drawn) - len(counted),
        epoch=epoch,
        why_untested=why or ("" if tested else "no setting has two values among the trials that count"),
        basis="",
        holds_for=effect_wording.holds_for(spec, trials, epoch),
    )
    return result.model_copy(update={"basis": effect_wording.basis(result)})


def _why_untested(spec: SweepSpec, num_counted: int) -> str:
    if isinstance(spec.scheduler, PopulationBased):
        return "population-based training changes the values of a trial while it trains"
    if num_counted < MIN_COMPARED:
        return (
            f"{num_counted} trials with a result were drawn at random, and {MIN_COMPARED} are the fewest; use searcher "
            "random, or tpe with more startup_trials, and neither fork nor warm_start"
        )
    return ""


class _Cost:
    """What more trials of a sweep would cost."""

    def __init__(self, spec: SweepSpec, trials: Sequence[TrialView], *, num_counted: int, num_tests: int) -> None:
        paid = [trial.busy_s for trial in trials if trial.origin == "searcher" and trial.busy_s > 0]
        self.spec, self.num_counted, self.num_tests = spec, num_counted, num_tests
        self._trial_h = fmean(paid) / 3600 if paid else None

    def hours(self, needed: int) -> float | None:
        """Hours of the trials that are missing. After a searcher that learns, a sweep at random begins from zero."""
        known = self.num_counted if num_random(self.spec) is None else 0
        return None if self._trial_h is None else max(0, needed - known) * self._trial_h


def _effect(path: str, drawn: Drawn, p_adjusted: float, cost: _Cost) -> DimensionEffect:
    mattered = p_adjusted <= SIGNIFICANT
    values = _values(drawn, cost)
    difference = max((each.behind for each in values if each.behind is not None), key=abs, default=0.0)
    effect = SCORE_EFFECT if is_score(cost.spec.objectives[0].metric) else abs(difference)
    needed = None if mattered else _needed(drawn, effect, cost)
    hours = cost.hours(needed) if needed is not None and needed > cost.num_counted else None
    found = DimensionEffect(
        path=path,
        verdict="mattered" if mattered else "not_shown",
        p_adjusted=p_adjusted,
        num_trials=len(drawn.values),
        values=values if mattered else [],
        effect=effect,
        trials_needed=needed,
        hours=hours,
        gpu_hours=hours * cost.spec.resources.all_gpus if hours is not None else None,
        finding="",
        to_know="",
    )
    return effect_wording.in_words(found, cost.spec, num_counted=cost.num_counted)


def _untested(path: str, drawn: Drawn) -> DimensionEffect:
    num_trials = len(drawn.values)
    return DimensionEffect(
        path=path,
        verdict="untested",
        p_adjusted=None,
        num_trials=num_trials,
        values=[],
        effect=None,
        trials_needed=None,
        hours=None,
        gpu_hours=None,
        finding=f"not tested: too few values among {num_trials} trials",
        to_know="",
    )


def _needed(drawn: Drawn, effect: float, cost: _Cost) -> int | None:
    """Trials of the whole sweep; a conditional dimension is part of some of them only."""
    found = randomised.spread(drawn)
    if found is None:
        return None
    is_choice = isinstance(drawn.dimension, Choice)
    levels = len(np.unique(drawn.levels)) if is_choice else randomised.PARTS
    needed = randomised.trials_needed(
        effect,
        *found,
        levels=levels,
        rank=levels - 1 if is_choice else 2,
        significant=SIGNIFICANT / cost.num_tests,
    )
    if needed is None:
        return None
    of_sweep = math.ceil(needed * cost.num_counted / len(drawn.values))
    return of_sweep if of_sweep <= randomised.MOST_TRIALS else None


def _values(drawn: Drawn, cost: _Cost) -> list[ValueEffect]:
    """The values, best first; intervals are corrected after Bonferroni for all pairs of values of all dimensions."""
    levels, sign = drawn.levels, 1 if cost.spec.objectives[0].direction == "maximize" else -1
    by_level = {level: drawn.objectives[levels == level] for level in np.unique(levels).tolist()}
    ordered = sorted(by_level, key=lambda level: -sign * float(by_level[level].mean()))
    best = by_level[ordered[0]]
    pairs = len(ordered) * (len(ordered) - 1) // 2
    found = []
    for level in ordered:
        objectives = by_level[level]
        behind = half = None
        if level != ordered[0]:
            behind = float(best.mean() - objectives.mean())
            half = _half(drawn, best.size, objectives.size, comparisons=pairs * cost.num_tests)
        found.append(
            ValueEffect(
                value=value_name(drawn.dimension, level),
                num_trials=objectives.size,
                mean=float(objectives.mean()),
                behind=behind,
                low=behind - half if behind is not None and half is not None else None,
                high=behind + half if behind is not None and half is not None else None,
            )
        )
    return found


def _half(drawn: Drawn, first: int, second: int, *, comparisons: int) -> float | None:
    """Half of the interval of a difference of two means of so many trials."""
    found = randomised.spread(drawn)
    if found is None:
        return None
    variance, freedom = found
    confidence = 1 - (1 - CONFIDENCE) / comparisons
    return t_quantile(freedom, confidence) * math.sqrt(variance * (1 / first + 1 / second))


def value_name(dimension: Dimension, level: int) -> str:
    """Write a value of a choice, or a part of a range of numbers."""
    if isinstance(dimension, Choice):
        return value_text(dimension.values[level])
    low, high = randomised.part_edges(dimension, level)
    return value_text(low) if low == high else f"{value_text(low)} to {value_text(high)}"
