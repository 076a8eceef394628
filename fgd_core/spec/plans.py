"""What a distillation will do and what it will not, said before its first step."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from fgd_core.spec.base import Fact


class LevelSide(Fact):
    """A level of a pyramid, as one of the two has it."""

    name: str
    stride: float
    """Pixels of the student's input per cell: a teacher that sees the image twice as large has half its own stride."""
    channels: int


class PlannedLevel(Fact):
    student: LevelSide | None = None
    """None where the student has no such level."""
    teacher: LevelSide | None = None
    is_distilled: bool
    has_adapter: bool = False
    """Whether a trained 1x1 convolution leads from the student's channels to the teacher's."""
    is_resampled: bool = False
    """Whether the teacher's map is interpolated, for its cells are of another size."""
    why_not: str = ""
    """Why it is left out."""


class DistillationPlanned(Fact):
    kind: Literal["distillation_planned"] = "distillation_planned"
    student: str
    """The detector's name."""
    teacher: str
    method: str
    is_idle: bool = False
    """Whether the method's weights are all zero, so that nothing is distilled after all."""
    input_scale: float = 1.0
    """The size of what the teacher sees over the size of what the student sees."""
    levels: list[PlannedLevel]
    """Those of the student, fine to coarse, then those that only the teacher has."""
    inherit: str
    """Which part of the teacher's weights the student starts with."""
    num_inherited: int = 0
    num_inheritable: int = 0
    """Keys of that part in the student."""
    not_inherited: list[str] = []
    """Keys of that part that stay as they were, for the teacher has none of this name and shape."""

    def sentence(self) -> str:
        """The whole plan for one line of a log."""
        return "; ".join(
            [self._distilled(), *self._left_out("student"), *self._left_out("teacher"), self.inherited_in_words()]
        )

    def _distilled(self) -> str:
        pairs = [level for level in self.levels if level.is_distilled]
        if self.is_idle:
            return f"distils nothing: all weights of {self.method} are zero"
        scale = f" that sees {self.input_scale:g} x the size" if self.input_scale != 1 else ""
        levels = ", ".join(pair_in_words(level) for level in pairs)
        return f"distils {levels} from {self.teacher}{scale} into {self.student} with {self.method}"

    def _left_out(self, side: Literal["student", "teacher"]) -> list[str]:
        reasons: dict[str, list[str]] = {}
        for level in self.levels:
            one = getattr(level, side)
            if one is not None and not level.is_distilled:
                reasons.setdefault(level.why_not, []).append(f"{one.name} (stride {one.stride:g})")
        return [f"leaves out the {side}'s {', '.join(names)}: {reason}" for reason, names in reasons.items()]

    def inherited_in_words(self) -> str:
        if self.inherit == "nothing":
            return "inherits nothing"
        what = {"full": "all weights", "by_shape": "whatever has the same shape"}.get(self.inherit, self.inherit)
        fresh = f", not {_some(self.not_inherited)}" if self.not_inherited else ""
        return f"inherits {what.replace('_', ' ')}: {self.num_inherited} of {self.num_inheritable} keys{fresh}"


def read_plan(data: Mapping[str, Any]) -> DistillationPlanned | None:
    """The plan in a stored event; None where a reader of this age cannot read it."""
    try:
        return DistillationPlanned.model_validate(data)
    except ValidationError:
        return None


def pair_in_words(level: PlannedLevel) -> str:
    """`P3 (stride 8, 64 → 256 channels by a 1x1 convolution)`"""
    assert level.student is not None and level.teacher is not None
    ours, theirs = level.student, level.teacher
    said = [f"stride {ours.stride:g}", f"{ours.channels} channels"]
    if level.has_adapter:
        said[1] = f"{ours.channels} → {theirs.channels} channels by a 1x1 convolution"
    if level.is_resampled:
        said.append(f"interpolated from stride {theirs.stride:g}")
    return f"{ours.name} ({', '.join(said)})"


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
