"""The plan of a distillation: what is distilled and what is not; reported before the first step."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from fgd_core.spec.base import Fact


class LevelSide(Fact):
    """A level of the student's or the teacher's pyramid."""

    name: str
    stride: float
    """Pixels of the student's input per cell. A teacher that sees the image at twice the size has half its own
    stride."""
    channels: int


class PlannedLevel(Fact):
    """A pair of levels that is distilled, or a level that is left out."""

    student: LevelSide | None = None
    """None if the student has no such level."""
    teacher: LevelSide | None = None
    is_distilled: bool
    has_adapter: bool = False
    """Whether a trained 1x1 convolution maps the student's channels to the teacher's."""
    is_resampled: bool = False
    """Whether the teacher's map is interpolated because its cells have another size."""
    why_not: str = ""
    """Why the level is left out; empty if it is distilled."""


class DistillationPlanned(Fact):
    """The run has matched the levels and loaded all weights; the first step follows."""

    kind: Literal["distillation_planned"] = "distillation_planned"
    student: str
    """Name of the student's detector."""
    teacher: str
    method: str
    is_idle: bool = False
    """Whether all weights of the method are zero, so that nothing is distilled."""
    weight: float = 1.0
    """Weight of the teacher in the mean over several teachers."""
    input_scale: float = 1.0
    """Size of the teacher's images relative to the student's."""
    levels: list[PlannedLevel]
    """The student's levels from fine to coarse, then the levels that only the teacher has; empty if the method compares
    no maps."""
    compares: list[str] = []
    """What is compared besides maps, in words."""
    inherit: str
    """The part of the teacher's weights that the student starts with."""
    num_inherited: int = 0
    num_inheritable: int = 0
    """Number of the student's keys in that part."""
    not_inherited: list[str] = []
    """Keys of that part that keep their values, because the teacher has no weight of the same name and shape."""
    more_teachers: list["DistillationPlanned"] = []
    """What is distilled from further teachers; nothing is inherited from them."""

    @property
    def of_each_teacher(self) -> list["DistillationPlanned"]:
        """The plan of each teacher, this one first."""
        return [self, *self.more_teachers]

    def sentence(self) -> str:
        """Return the whole plan in one line."""
        parts = [
            part
            for each in self.of_each_teacher
            for part in (each._distilled(), *each._left_out("student"), *each._left_out("teacher"))
        ]
        if self.more_teachers:
            weights = ", ".join(f"{each.weight:g}" for each in self.of_each_teacher)
            parts.append(f"weighs the teachers {weights}")
        return "; ".join([*parts, self.inherited_in_words()])

    def _distilled(self) -> str:
        pairs = [level for level in self.levels if level.is_distilled]
        if self.is_idle:
            return f"distils nothing: all weights of {self.method} are zero"
        scale = f" at {self.input_scale:g} x the image size" if self.input_scale != 1 else ""
        compared = ", ".join([*(pair_in_words(level) for level in pairs), *self.compares])
        return f"distils {compared} from {self.teacher}{scale} into {self.student} with {self.method}"

    def _left_out(self, side: Literal["student", "teacher"]) -> list[str]:
        reasons: dict[str, list[str]] = {}
        for level in self.levels:
            one = getattr(level, side)
            if one is not None and not level.is_distilled:
                reasons.setdefault(level.why_not, []).append(f"{one.name} (stride {one.stride:g})")
        return [f"leaves out the {side}'s {', '.join(names)}: {reason}" for reason, names in reasons.items()]

    def inherited_in_words(self) -> str:
        """Return which of the teacher's weights the student starts with."""
        if self.inherit == "nothing":
            return "inherits nothing"
        what = {"full": "all weights", "by_shape": "all weights of the same shape"}.get(self.inherit, self.inherit)
        fresh = f", not {_some(self.not_inherited)}" if self.not_inherited else ""
        return f"inherits {what.replace('_', ' ')}: {self.num_inherited} of {self.num_inheritable} keys{fresh}"


def read_plan(data: Mapping[str, Any]) -> DistillationPlanned | None:
    """Return the plan in a stored event; None if this version cannot read it."""
    try:
        return DistillationPlanned.model_validate(data)
    except ValidationError:
        return None


def pair_in_words(level: PlannedLevel) -> str:
    """Return, for example, `P3 (stride 8, 64 → 256 channels by a 1x1 convolution)`."""
    assert level.student is not None and level.teacher is not None
    student, teacher = level.student, level.teacher
    parts = [f"stride {student.stride:g}", f"{student.channels} channels"]
    if level.has_adapter:
        parts[1] = f"{student.channels} → {teacher.channels} channels by a 1x1 convolution"
    if level.is_resampled:
        parts.append(f"interpolated from stride {teacher.stride:g}")
    return f"{student.name} ({', '.join(parts)})"


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
