"""Folds a `left_over` study: whom distilling hurts, and which of the teacher's biases the student takes over.

Classes are judged together after Benjamini and Hochberg, and so are all groups and distances between groups.
`tests/studies/test_left_over.py` plants effects and measures the power and the share of false discoveries.

Source: arXiv:2410.08407, which tests the accuracy of each class by Welch's test and corrects for no number of classes.
"""

from collections.abc import Mapping, Sequence

from fgd_core.spec.comparison import FALSE_DISCOVERY_RATE, MIN_BOXES, Change
from fgd_core.spec.kinds.study_types import SIZE
from fgd_core.spec.study_findings.left_over import ArmName, ClassLeftOver, LeftOver
from fgd_core.statistics import verdicts
from fgd_core.statistics.rows import class_rows, known, known_means
from fgd_core.statistics.seeds import Differences, Measured, Points, by_seeds, measured, measured_from
from fgd_core.studies.disagreement import disagreements
from fgd_core.studies.fairness import SIZES, Group
from fgd_core.studies.group_rates import group_sets, individual
from fgd_core.studies.left_over_trends import trends
from fgd_core.studies.left_over_wording import sentences
from fgd_core.studies.runs import StudyRun, boxes_of_classes, class_names, points


def left_over(
    plain: Sequence[StudyRun],
    distilled: Sequence[StudyRun],
    teacher: Sequence[StudyRun],
    *,
    groups: Mapping[str, Mapping[str, Group]] | None = None,
    over: Mapping[str, Mapping[float, Sequence[StudyRun]]] | None = None,
) -> LeftOver:
    """Compare the distilled student with the plain one and the teacher.

    Args:
        plain, distilled, teacher: runs on the same split; of each arm at least one. Two or more seeds of both students
            are needed to test anything.
        groups: sets of groups by name, in addition to the sizes; needs runs with evidence.
        over: distilled runs by the name of a setting and its value above 0, for trends.
    """
    arms: Mapping[ArmName, Sequence[StudyRun]] = {"plain": plain, "distilled": distilled, "teacher": teacher}
    sets = {SIZE: SIZES, **(groups or {})} if _have_evidence([*plain, *distilled, *teacher]) else {}
    classes = _classes(plain, distilled, teacher)
    result = LeftOver(
        num_seeds={arm: len(runs) for arm, runs in arms.items()},
        false_discovery_rate=FALSE_DISCOVERY_RATE,
        min_boxes=MIN_BOXES,
        classes=classes,
        lost=[row.name for row in classes if _is(row.change, "lost")],
        num_changed=sum(_is(row.beyond_overall, "gained", "lost") for row in classes),
        num_unlike_teacher=sum(_is(row.from_teacher, "gained", "lost") for row in classes),
        disagreements=disagreements(arms),
        group_sets=group_sets(arms, sets),
        individual=individual(arms),
        trends=trends(over or {}, teacher=teacher[0], sets=sets),
        sentences=[],
    )
    return result.model_copy(update={"sentences": sentences(result)})


def _have_evidence(runs: Sequence[StudyRun]) -> bool:
    return all(run.evidence is not None for run in runs)


def _is(change: Change | None, *findings: str) -> bool:
    return change is not None and change.finding in findings


def _classes(
    plain: Sequence[StudyRun], distilled: Sequence[StudyRun], teacher: Sequence[StudyRun]
) -> list[ClassLeftOver]:
    names, num_boxes = class_names(distilled), boxes_of_classes(distilled)
    ours, theirs, taught = points(distilled), points(plain), points(teacher)
    rows = class_rows(_differences(ours, theirs), ours, theirs, names=names, num_boxes=num_boxes)
    unlike = verdicts.among_many(_from_teacher(ours, taught), num_boxes=num_boxes)
    return [
        ClassLeftOver(**dict(row), teacher=ap, from_teacher=change)
        for row, ap, change in zip(rows, known_means(taught.classes), unlike, strict=True)
    ]


def _differences(first: Points, second: Points) -> Differences:
    if min(len(first.scores), len(second.scores)) > 1:
        return by_seeds(first, second)
    by = [known(value) for value in first.classes.mean(axis=0) - second.classes.mean(axis=0)]
    untested = [None if value is None else Measured(value) for value in by]
    return Differences(scores=[], classes=untested, beyond_overall=[None] * len(untested))


def _from_teacher(distilled: Points, teacher: Points) -> list[Measured | None]:
    """Student and teacher relative to their own APs. One teacher is the given teacher, and has no spread."""
    ours, theirs = (each.classes - each.scores[:, :1] for each in (distilled, teacher))
    if len(ours) < 2 or ours.shape[1] < 2:
        return [None] * ours.shape[1]
    if len(theirs) < 2:
        return [measured_from(own, float(fixed)) for own, fixed in zip(ours.T, theirs[0], strict=True)]
    return [measured(own, other) for own, other in zip(ours.T, theirs.T, strict=True)]
