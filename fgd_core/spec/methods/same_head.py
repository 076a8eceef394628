"""What methods need that compare the outputs of two dense heads location by location: heads of one kind."""

from collections.abc import Iterator

from fgd_core.spec.detectors import AnyDetector, Gfl
from fgd_core.spec.methods.base import AnyMethod, Unmet


def differences(method: AnyMethod, student: AnyDetector, teacher: AnyDetector | None) -> Iterator[Unmet]:
    """Yield why the outputs of two detectors mean different things: another kind, or other bins.

    Args:
        teacher: None if it is not known yet; then nothing is checked.
    """
    if teacher is None:
        return
    if student.name() != teacher.name():
        yield Unmet(
            "teacher.detector",
            f"method {method.name()} compares heads of one kind, and the student is {student.name()}, the teacher "
            f"{teacher.name()}; choose a teacher of the student's kind, or a method that compares feature maps",
        )
    elif isinstance(student, Gfl) and isinstance(teacher, Gfl) and student.reg_max != teacher.reg_max:
        yield Unmet(
            "student.reg_max",
            f"method {method.name()} compares distributions bin by bin, and the student has reg_max {student.reg_max}, "
            f"the teacher {teacher.reg_max}; set student.reg_max to {teacher.reg_max}",
        )
