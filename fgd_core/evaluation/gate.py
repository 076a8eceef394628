"""Scores a teacher before distillation and rejects a bad one, which would silently harm the student."""

from collections.abc import Callable, Sequence

from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.classes import match_classes
from fgd_core.detectors.weights.sources import LoadedTeacher
from fgd_core.errors import TeacherError
from fgd_core.evaluation.gate_sample import TeacherAp
from fgd_core.evaluation.relabelled import RelabelledDetector
from fgd_core.spec.events import TeacherChecked
from fgd_core.spec.kinds.teacher import Teacher


def score_teacher(
    settings: Teacher,
    teacher: LoadedTeacher,
    detector: Detector,
    *,
    classes: Sequence[str],
    data_fingerprint: str,
    measure: Callable[[Detector, Sequence[str], float | None], TeacherAp],
) -> TeacherChecked:
    """Score the teacher on the classes that it shares with the data.

    Args:
        detector: the teacher's detector at the input scale of the distillation.
        classes: of the data, in the order of labels.
        data_fingerprint: of the validation split.
        measure: a detector with the data's labels, the classes to score, and the AP that they must reach, if one is
            known -> their AP. It may be that of a sample only if the sample shows that it reaches this limit.
    Raises:
        TeacherError: the teacher has none of the data's classes.
    """
    common = match_classes(teacher.classes, classes)
    if not common.pairs:
        raise TeacherError(
            f"the teacher's {len(teacher.classes)} classes and the data's {len(classes)} have no name in common, so "
            "the teacher cannot be scored on this data; to distil from it anyway, set teacher.gate to keys",
            checkpoint=settings.checkpoint,
            only_in_checkpoint=[*sorted(common.unused)[:10]],
            only_in_data=[*sorted(common.fresh)[:10]],
        )
    record = teacher.record
    recorded_ap = record.scores.ap if record.scores is not None else None
    same_data = record.data_fingerprint == data_fingerprint
    if settings.expected_ap is not None:
        recorded_ap, same_data = settings.expected_ap, True
    limit = recorded_ap - settings.max_ap_drop if recorded_ap is not None and same_data else None
    found = measure(RelabelledDetector(detector, dict(common.pairs), len(classes)), common.found, limit)
    return TeacherChecked(
        ap=found.ap,
        sample=found.sample,
        recorded_ap=recorded_ap,
        same_data=same_data,
        classes_judged=list(common.found) if common.fresh else [],
    )


def check_teacher(settings: Teacher, checked: TeacherChecked) -> None:
    """Reject a teacher whose score is too low.

    Raises:
        TeacherError: the teacher's AP is 0, or too far below the AP that is recorded or expected.
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
            "the teacher detects nothing on the validation split, so a student cannot learn from it; "
            "check the data and the input size, or set teacher.gate to keys",
            **shown,
        )
    if known_ap is not None and checked.ap < known_ap - settings.max_ap_drop:
        origin = "its checkpoint records" if settings.expected_ap is None else "teacher.expected_ap is"
        raise TeacherError(
            f"the teacher's AP is {checked.ap:.3f} on the validation split, but {origin} {known_ap:.3f}; "
            "use the input size that it was trained with, or raise teacher.max_ap_drop",
            **shown,
        )
