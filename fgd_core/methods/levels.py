"""Pairs the levels of the student's pyramid with levels of the teacher's."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from fgd_core.errors import SpecError
from fgd_core.outputs import FeatureLevel
from fgd_core.spec.plans import LevelSide, PlannedLevel

_HALF_AN_OCTAVE = 0.5


class Pair(NamedTuple):
    """A student's and a teacher's level, as indices into the two pyramids."""

    student: int
    teacher: int
    cells_per_cell: float
    """Side of a cell of the student's map, in cells of the teacher's map."""
    resizes_student: bool = False
    """Whether the student's map is interpolated where the cells differ, and not the teacher's."""


def match_levels(
    student: Sequence[FeatureLevel], teacher: Sequence[FeatureLevel], input_scale: float, *, derived: bool = False
) -> list[Pair]:
    """Pair levels by stride, because levels of the same number can have different strides.

    Args:
        input_scale: size of the teacher's image relative to the student's; a teacher's effective stride is its own
            stride divided by this.
        derived: also pair levels that only subsample another one.
    Returns:
        For each level of the student, from fine to coarse, the teacher's level of the nearest effective stride, if it
        is within half an octave.
    Raises:
        SpecError: no two levels match.
    """
    candidates = sorted(
        (abs(math.log2(one.stride * input_scale / other.stride)), s, t)
        for s, one in enumerate(student)
        for t, other in enumerate(teacher)
        if derived or not (one.is_derived or other.is_derived)
    )
    pairs: list[Pair] = []
    for octaves, s, t in candidates:
        is_free = all(pair.student != s and pair.teacher != t for pair in pairs)
        if octaves < _HALF_AN_OCTAVE and is_free:
            pairs.append(Pair(s, t, student[s].stride * input_scale / teacher[t].stride))
    if not pairs:
        raise SpecError(
            "student and teacher have no level of about the same stride, so nothing can be distilled; choose "
            "detectors with common strides, or another teacher.input_scale",
            student=[_in_words(level, 1) for level in student],
            teacher=[_in_words(level, input_scale) for level in teacher],
        )
    return sorted(pairs)


def match_by_index(student: Sequence[FeatureLevel], teacher: Sequence[FeatureLevel], input_scale: float) -> list[Pair]:
    """Pair the finest level with the finest, and so on, whatever their strides; derived levels are left out.

    Args:
        input_scale: as of `match_levels`.
    """
    ours, theirs = ([i for i, level in enumerate(side) if not level.is_derived] for side in (student, teacher))
    return [
        Pair(s, t, student[s].stride * input_scale / teacher[t].stride, resizes_student=True)
        for s, t in zip(ours, theirs, strict=False)
    ]


def plan_levels(
    student: Sequence[FeatureLevel], teacher: Sequence[FeatureLevel], input_scale: float, pairs: Sequence[Pair]
) -> list[PlannedLevel]:
    """Return every level of both pyramids, and whether it is distilled."""
    student_sides, teacher_sides = (
        [_side(level, 1) for level in student],
        [_side(level, input_scale) for level in teacher],
    )
    derived_of_student = [side for side, level in zip(student_sides, student, strict=True) if level.is_derived]
    derived_of_teacher = [side for side, level in zip(teacher_sides, teacher, strict=True) if level.is_derived]
    by_student, matched = {pair.student: pair for pair in pairs}, {pair.teacher for pair in pairs}
    planned = []
    for index, side in enumerate(student_sides):
        pair = by_student.get(index)
        if pair is None:
            why_not = _why_not(side, derived_of_student, "teacher", teacher_sides, derived_of_teacher)
            planned.append(PlannedLevel(student=side, is_distilled=False, why_not=why_not))
            continue
        other = teacher_sides[pair.teacher]
        planned.append(
            PlannedLevel(
                student=side,
                teacher=other,
                is_distilled=True,
                has_adapter=side.channels != other.channels,
                is_resampled=pair.cells_per_cell != 1,
            )
        )
    return planned + [
        PlannedLevel(
            teacher=side,
            is_distilled=False,
            why_not=_why_not(side, derived_of_teacher, "student", student_sides, derived_of_student),
        )
        for index, side in enumerate(teacher_sides)
        if index not in matched
    ]


def _why_not(
    side: LevelSide,
    derived: Sequence[LevelSide],
    other: str,
    there: Sequence[LevelSide],
    derived_there: Sequence[LevelSide],
) -> str:
    if side in derived:
        return "it only subsamples the level below"
    if _has_stride_of(side, derived_there):
        return f"the {other}'s level of this stride only subsamples the level below"
    return "the method leaves it out" if _has_stride_of(side, there) else f"the {other} has no level of this stride"


def _has_stride_of(side: LevelSide, levels: Sequence[LevelSide]) -> bool:
    return any(abs(math.log2(side.stride / each.stride)) < _HALF_AN_OCTAVE for each in levels)


def _side(level: FeatureLevel, input_scale: float) -> LevelSide:
    return LevelSide(name=level.name, stride=level.stride / input_scale, channels=level.channels)


def _in_words(level: FeatureLevel, input_scale: float) -> str:
    derived = ", derived" if level.is_derived else ""
    return f"{level.name} (stride {level.stride / input_scale:g}{derived})"
