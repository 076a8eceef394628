"""The rates of all groups for the three arms of a `left_over` study, judged together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fgd_core.spec.comparison import MIN_BOXES
from fgd_core.spec.study_findings.left_over import ArmName, GroupRow, GroupSet, Individual, Rate
from fgd_core.statistics import verdicts
from fgd_core.statistics.operating import Rates
from fgd_core.statistics.seeds import Measured, measured
from fgd_core.studies.fairness import Group, odds, parity, rates_of, testable
from fgd_core.studies.runs import StudyRun, boxes_of_classes

_Values = Mapping[ArmName, npt.NDArray[np.float64]]


class _Key(NamedTuple):
    """Names a rate: of a group, or of a whole set (group None)."""

    set: str
    group: str | None
    rate: str


def group_sets(arms: Mapping[ArmName, Sequence[StudyRun]], sets: Mapping[str, Mapping[str, Group]]) -> list[GroupSet]:
    """Compare the arms in each group, and how far the groups of a set are apart.

    Args:
        arms: runs with evidence, if there are sets.
    """
    counted = {name: _counted(arms, groups) for name, groups in sets.items()}
    values = {key: each for name, groups in counted.items() for key, each in _values(name, groups).items()}
    changes = [_measured(each) for each in values.values()]
    judged = verdicts.among_many(changes, num_boxes=[MIN_BOXES] * len(changes))
    rates = {
        key: Rate(**{arm: float(runs.mean()) for arm, runs in each.items()}, change=change)
        for (key, each), change in zip(values.items(), judged, strict=True)
        if change is not None
    }
    return [
        _group_set(name, groups, rates).model_copy(update={"too_small": _too_small(arms["plain"][0], sets[name])})
        for name, groups in counted.items()
    ]


def individual(arms: Mapping[ArmName, Sequence[StudyRun]]) -> Individual | None:
    """Compare how steadily the arms find the same objects when images are mildly altered.

    Returns:
        None if a run was not evaluated on altered images.
    """
    found = {arm: [run.altered for run in runs if run.altered is not None] for arm, runs in arms.items()}
    if any(len(found[arm]) < len(runs) for arm, runs in arms.items()):
        return None
    rates = ("flips", "score_change")
    values = [{arm: np.array([getattr(each, rate) for each in found[arm]]) for arm in found} for rate in rates]
    num_boxes = sum(boxes_of_classes(arms["plain"]))
    judged = verdicts.among_many([*map(_measured, values)], num_boxes=[num_boxes] * len(rates))
    named = {
        name: Rate(**{arm: float(runs.mean()) for arm, runs in each.items()}, change=change)
        for name, each, change in zip(rates, values, judged, strict=True)
        if change is not None
    }
    return Individual(**named)


def _counted(
    arms: Mapping[ArmName, Sequence[StudyRun]], groups: Mapping[str, Group]
) -> Mapping[str, Mapping[ArmName, list[Rates]]]:
    """By group and arm, the counts of each run."""
    kept: dict[str, Group] = {}
    for arm, runs in arms.items():
        for run in runs:
            assert run.evidence is not None, f"a run of {arm} has no evidence"
            kept = kept or testable(groups, run.evidence)
    return {
        name: {
            arm: [rates_of(run.evidence, group) for run in runs if run.evidence is not None]
            for arm, runs in arms.items()
        }
        for name, group in kept.items()
    }


def _too_small(run: StudyRun, groups: Mapping[str, Group]) -> dict[str, int]:
    assert run.evidence is not None, "groups need runs with evidence"
    boxes = {name: rates_of(run.evidence, group).boxes for name, group in groups.items()}
    return {name: number for name, number in boxes.items() if number < MIN_BOXES}


def _values(name: str, groups: Mapping[str, Mapping[ArmName, list[Rates]]]) -> dict[_Key, _Values]:
    """Each rate of each group, and the distances between the groups, by arm and run."""
    found: dict[_Key, _Values] = {}
    for group, arms in groups.items():
        for rate in ("recall", "positives", "alarm_rate"):
            values = {arm: np.array([getattr(each, rate) for each in runs]) for arm, runs in arms.items()}
            found[_Key(name, group, rate)] = values
    if len(groups) > 1:
        arm_names: list[ArmName] = ["plain", "distilled", "teacher"]
        by_run = {arm: list(zip(*(arms[arm] for arms in groups.values()), strict=True)) for arm in arm_names}
        found[_Key(name, None, "parity")] = {arm: np.array([parity(each) for each in by_run[arm]]) for arm in by_run}
        found[_Key(name, None, "odds")] = {arm: np.array([odds(each) for each in by_run[arm]]) for arm in by_run}
    return found


def _measured(values: _Values) -> Measured:
    first, second = values["distilled"], values["plain"]
    found = measured(first, second) if min(len(first), len(second)) > 1 else None
    return found or Measured(float(first.mean() - second.mean()))


def _group_set(name: str, groups: Mapping[str, Mapping[ArmName, list[Rates]]], rates: Mapping[_Key, Rate]) -> GroupSet:
    return GroupSet(
        name=name,
        groups=[
            GroupRow(
                name=group,
                num_boxes=arms["plain"][0].boxes,
                recall=rates[_Key(name, group, "recall")],
                positives=rates[_Key(name, group, "positives")],
                alarms=rates[_Key(name, group, "alarm_rate")],
            )
            for group, arms in groups.items()
        ],
        parity=rates.get(_Key(name, None, "parity")),
        odds=rates.get(_Key(name, None, "odds")),
    )
