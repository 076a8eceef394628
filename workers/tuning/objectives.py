"""Computes the objectives of a trial from its scores."""

from collections.abc import Sequence

from fgd_core.spec.results import PART_METRICS, RunResult, Scores
from fgd_core.spec.search import Objective
from fgd_core.spec.trials import TrialReported

_OF_RESULT = ("images_per_s", "num_parameters")
"""Objectives that are known only once a trial is complete."""


def of_scores(objectives: Sequence[Objective], scores: Scores) -> list[float | None]:
    """Return the value of each objective; None where the scores do not contain it."""
    return [_of_scores(objective.metric, scores) for objective in objectives]


def at_best(
    objectives: Sequence[Objective], reports: Sequence[TrialReported], result: RunResult | None
) -> list[float | None] | None:
    """Return the objectives at the epoch at which the first objective was best; None without reports and result.

    If the first objective is known only for the result, the epoch is the one of the result: that of the best AP.
    """
    known = [report for report in reports if report.objectives and report.objectives[0] is not None]
    if known:
        sign = 1 if objectives[0].direction == "maximize" else -1
        scores = max(known, key=lambda report: sign * (report.objectives[0] or 0.0)).scores
    elif result is not None:
        scores = result.scores
    else:
        return None
    values = of_scores(objectives, scores)
    if result is not None:
        for index, objective in enumerate(objectives):
            if objective.metric in _OF_RESULT:
                values[index] = float(getattr(result, objective.metric))
    return values


def _of_scores(metric: str, scores: Scores) -> float | None:
    if metric in _OF_RESULT:
        return None
    kind, _, name = metric.partition(":")
    if kind in ("class", "class50"):
        of_class = scores.per_class.get(name)
        return None if of_class is None else of_class.ap if kind == "class" else of_class.ap50
    place = PART_METRICS.get(metric)
    of, name = (scores.parts().get(place.part), place.name) if place is not None else (scores, metric)
    value: float | None = getattr(of, name) if of is not None else None
    return value
