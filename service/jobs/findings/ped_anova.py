"""PED-ANOVA by Optuna. Imported only where it is asked for: the control plane must start fast."""

import json
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from pydantic import JsonValue

from fgd_core.spec.search import Choice, Dimension, Integers, LogUniform, Uniform
from service.jobs.study import Direction

MIN_TOP = 5
"""Trials that stand for the best: Optuna advises at least so many, and its default tenth of few trials is one."""


def shares(
    trials: Sequence[tuple[Mapping[str, JsonValue], float]], dimensions: Mapping[str, Dimension], direction: Direction
) -> dict[str, float]:
    """The importance of each dimension; they sum to 1, or are all 0 where the best lie like the rest.

    Args:
        trials: (values by field path, objective), values inside their dimensions; one that does not apply is left out.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction)
    distributions = {path: _distribution(dimension) for path, dimension in dimensions.items()}
    for values, objective in trials:
        known = {path: _value(dimensions[path], values[path]) for path in distributions if path in values}
        study.add_trial(
            optuna.trial.create_trial(
                params=known, distributions={path: distributions[path] for path in known}, value=objective
            )
        )
    quantile = min(0.5, max(0.1, MIN_TOP / len(trials)))
    # Optuna refuses a dimension that no trial has: one whose condition never held.
    tried = [path for path in dimensions if any(path in values for values, _ in trials)]
    found = PedAnovaImportanceEvaluator(target_quantile=quantile).evaluate(study, params=tried)
    total = sum(found.values())
    return {path: found.get(path, 0.0) / total if total > 0 else 0.0 for path in dimensions}


def _distribution(dimension: Dimension) -> BaseDistribution:
    match dimension:
        case Uniform():
            return FloatDistribution(dimension.low, dimension.high)
        case LogUniform():
            return FloatDistribution(dimension.low, dimension.high, log=True)
        case Integers():
            return IntDistribution(dimension.low, dimension.high, log=dimension.log)
        case Choice():
            return CategoricalDistribution([json.dumps(value) for value in dimension.values])


def _value(dimension: Dimension, value: JsonValue) -> JsonValue:
    # Optuna's choices are plain values; ours may be lists and objects.
    return json.dumps(value) if isinstance(dimension, Choice) else value
