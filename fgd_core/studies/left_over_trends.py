"""How what is left over changes with a setting of the distillation, such as its temperature or its scale."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from fgd_core.spec.study_findings.trend import Trend
from fgd_core.statistics.trend import trend
from fgd_core.studies.disagreement import share_between
from fgd_core.studies.fairness import Group, odds, parity, rates_of, testable
from fgd_core.studies.runs import StudyRun


def trends(
    over: Mapping[str, Mapping[float, Sequence[StudyRun]]],
    *,
    teacher: StudyRun,
    sets: Mapping[str, Mapping[str, Group]],
) -> list[Trend]:
    """Fit a line over the levels of each setting through each number of the distilled runs.

    Args:
        over: the runs by the name of a setting and its value above 0.
        sets: sets of groups by name; empty if a run has no evidence.
    """
    measures: dict[str, Callable[[StudyRun], float]] = {"AP": _ap, "AP of the worst class": _worst_class}
    for name, groups in sets.items():
        kept = list(testable(groups, teacher.evidence).values()) if teacher.evidence is not None else []
        if len(kept) > 1:
            measures[f"parity over {name}"] = partial(_parity, groups=kept)
            measures[f"odds over {name}"] = partial(_odds, groups=kept)
    if sets:
        measures["disagreement with the teacher"] = partial(_from_teacher, teacher=teacher)
    if all(run.altered is not None for levels in over.values() for runs in levels.values() for run in runs):
        measures["flips on altered images"] = _flips
    found = [
        trend(of, name, {level: [measure(run) for run in runs] for level, runs in levels.items()})
        for name, levels in over.items()
        for of, measure in measures.items()
    ]
    return [each for each in found if each is not None]


def _ap(run: StudyRun) -> float:
    return np.nan if run.scores.ap is None else run.scores.ap


def _worst_class(run: StudyRun) -> float:
    return min((score.ap for score in run.scores.per_class.values() if score.ap is not None), default=np.nan)


def _parity(run: StudyRun, *, groups: Sequence[Group]) -> float:
    return parity([rates_of(run.evidence, group) for group in groups]) if run.evidence is not None else np.nan


def _odds(run: StudyRun, *, groups: Sequence[Group]) -> float:
    return odds([rates_of(run.evidence, group) for group in groups]) if run.evidence is not None else np.nan


def _flips(run: StudyRun) -> float:
    return np.nan if run.altered is None else run.altered.flips


def _from_teacher(run: StudyRun, *, teacher: StudyRun) -> float:
    share = share_between(run, teacher)
    return np.nan if share is None else share
