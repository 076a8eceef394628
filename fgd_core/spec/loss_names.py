"""Names of the values that a step of a distillation reports.

They are `distill/total`, the weighted loss of each place (`distill/P3`, `distill/regions`) and of each of several
teachers (`distill/teacher_1`), and each term of the method (`distill/foreground`), unweighted and summed over places.
In a mixture, the name of the part comes before that of a place or a term: `distill/focal/P3`.
"""

import re
from typing import Literal, NamedTuple, TypeAlias

GROUP = "distill/"
TOTAL = GROUP + "total"
SCALE = GROUP + "scale"
"""No loss, but the factor on all weights of the method, where a schedule or the first steps change it."""
HEAD = "head"
"""The place of a method that compares the outputs of heads at every location."""
REGIONS = "regions"
"""The place of a method that compares regions."""

Role: TypeAlias = Literal["total", "teacher", "place", "term"]

_LEVEL = re.compile(r"^[PC]\d+$")
_TEACHER = re.compile(r"^teacher_\d+$")


class LossName(NamedTuple):
    """The name of a reported value, taken apart."""

    role: Role
    part: str
    """The part of a mixture; otherwise empty."""
    name: str
    """Without the group and the part."""

    @property
    def in_words(self) -> str:
        """The name without underscores: `near objects`, `teacher 1`."""
        return self.name.replace("_", " ")


def read_loss_name(curve: str) -> LossName | None:
    """Take the name of a curve apart; None if it is no part of a distillation's loss."""
    if not curve.startswith(GROUP) or curve == SCALE:
        return None
    part, _, name = curve.removeprefix(GROUP).rpartition("/")
    return LossName(_role(part, name), part, name)


def _role(part: str, name: str) -> Role:
    if not part and name == "total":
        return "total"
    if not part and _TEACHER.match(name):
        return "teacher"
    return "place" if name in (HEAD, REGIONS) or _LEVEL.match(name) else "term"
