"""Checks that the outputs of two detectors can be compared."""

from fgd_core.errors import SpecError
from fgd_core.methods.base import Side


def check_same_locations(name: str, student: Side, teacher: Side) -> None:
    """Check that two dense detectors predict at the same locations.

    Args:
        name: of the method.
    Raises:
        SpecError: the strides of the levels differ, for example because the teacher's images have another size.
    """
    ours = [level.stride for level in student.levels]
    theirs = [level.stride / teacher.input_scale for level in teacher.levels]
    if ours != theirs:
        raise SpecError(
            f"method {name} compares outputs location by location, and the levels of student and teacher have "
            "different strides; choose the same kind of detector for both, and teacher.input_scale 1",
            student=[*ours],
            teacher=[*theirs],
        )


def check_same_classes(name: str, teacher: Side) -> None:
    """Check that the class scores of student and teacher can be compared.

    Args:
        name: of the method.
    Raises:
        SpecError: they have no class in common, or the heads of regions differ in a class.
    """
    if not teacher.shares_classes:
        raise SpecError(
            f"method {name} compares class scores, and the teacher lacks a class of the data; choose a teacher that "
            "was trained on all of these classes, or a method that compares feature maps"
        )


def check_same_heads(name: str, student: Side, teacher: Side) -> None:
    """Check that both detectors have regions, and that the teacher has a score for each class of the data.

    Args:
        name: of the method.
    Raises:
        SpecError: a detector has no regions, or the teacher lacks a class.
    """
    if not (student.has_regions and teacher.has_regions):
        raise SpecError(
            f"method {name} compares the heads of regions, and a detector has none; choose two-stage detectors for "
            "student and teacher, or set the weights of regions to 0"
        )
    check_same_classes(name, teacher)
