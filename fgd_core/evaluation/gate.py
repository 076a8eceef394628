"""The gate: a teacher that does not know its trade would quietly spoil the student, so it shows its skill first."""

from collections.abc import Callable, Sequence

from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.classes import match_classes
from fgd_core.detectors.weights.sources import LoadedTeacher
from fgd_core.errors import TeacherError
from fgd_core.evaluation.in_classes import InClassesOf
from fgd_core.spec.events import TeacherChecked
from fgd_core.spec.jobs import Teacher


def score_teacher(
    settings: Teacher,
    teacher: LoadedTeacher,
    seen: Detector,
    *,
    classes: Sequence[str],
    data_fingerprint: str,
    measure: Callable[[Detector, Sequence[str]], float | None],
) -> TeacherChecked:
    """Score the teacher on the classes that it shares with the data.

    Args:
        seen: the teacher, looking at images as it will when it teaches.
        classes: of the data, in the order of labels.
        data_fingerprint: of the validation split.
        measure: a detector in the data's classes, and those to count -> their AP; None where there is nothing to score.
    Raises:
        TeacherError: it knows none of the classes.
    """
    common = match_classes(teacher.classes, classes)
    if not common.pairs:
        raise TeacherError(
            f"the teacher knows {len(teacher.classes)} classes and the data {len(classes)}, none of them the "
            "same, so it cannot be judged on this data; to learn from it all the same, set teacher.gate to keys",
            checkpoint=settings.checkpoint,
            only_in_checkpoint=[*sorted(common.unused)[:10]],
            only_in_data=[*sorted(common.fresh)[:10]],
        )
    ap = measure(InClassesOf(seen, dict(common.pairs), len(classes)), common.found)
    record = teacher.record
    recorded_ap = record.scores.ap if record.scores is not None else None
    same_data = record.data_fingerprint == data_fingerprint
    if settings.expected_ap is not None:
        recorded_ap, same_data = settings.expected_ap, True
    judged = list(common.found) if common.fresh else []
    return TeacherChecked(ap=ap, recorded_ap=recorded_ap, same_data=same_data, classes_judged=judged)


def judge_teacher(settings: Teacher, checked: TeacherChecked) -> None:
    """
    Raises:
        TeacherError: it finds nothing, or less than is known of it.
    """
    known_ap = checked.recorded_ap if checked.same_data else None
    shown: dict[str, float | str | None] = {
        "checkpoint": settings.checkpoint,
        "ap": checked.ap,
        "recorded_ap": checked.recorded_ap,
        "max_ap_drop": settings.max_ap_drop,
    }
    if not checked.ap:
        raise TeacherError(
            "the teacher finds nothing on the validation split, so there is nothing to learn from it; "
            "check its data and input size, or set teacher.gate to keys",
            **shown,
        )
    if known_ap is not None and checked.ap < known_ap - settings.max_ap_drop:
        said = "its checkpoint records" if settings.expected_ap is None else "teacher.expected_ap says"
        raise TeacherError(
            f"the teacher's AP is {checked.ap:.3f} on the validation split where {said} {known_ap:.3f}; "
            "give it the input size it was trained with, or raise teacher.max_ap_drop",
            **shown,
        )
