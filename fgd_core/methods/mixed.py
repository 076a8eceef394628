"""Several methods at once: the sum of their losses, each with its own scale."""

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from fgd_core.methods.base import Lesson, Method, MethodFactory, Side, Terms, View, resting
from fgd_core.methods.parts.decay import scale_at
from fgd_core.spec.methods import AnyMethod, Mixed
from fgd_core.spec.plans import PlannedLevel


class MixedMethod(Method):
    """Runs methods on the same lesson. The name of a part precedes its places and terms, so that none collide.

    Args:
        methods: by the name of the part.
        settings: of each part; its scale is a factor on all its weights.
    """

    def __init__(self, methods: Mapping[str, Method], settings: Mapping[str, AnyMethod]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(methods)
        self._methods, self._settings = [*methods.items()], settings

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the losses of all parts; a part whose schedule is at 0 does not run."""
        scales = {name: scale_at(self._settings[name], lesson.moment) for name, _ in self._methods}
        return {
            f"{name}/{place}": _renamed(terms, name, scales[name])
            for name, method in self._methods
            for place, terms in (method(lesson) if scales[name] else resting(method, "rest")).items()
        }

    def compile_losses(self) -> None:
        """Compile the losses of all parts."""
        for _, method in self._methods:
            method.compile_losses()

    def plan(self) -> Sequence[PlannedLevel]:
        """Return the pairs that any part compares, fine to coarse, and then the levels that no part compares."""
        planned = dict.fromkeys(level for _, method in self._methods for level in method.plan())
        compared = sorted((each for each in planned if each.is_distilled), key=_stride)
        names = {(side, name) for each in compared for side, name in _names(each)}
        return compared + [each for each in planned if not names.intersection(_names(each))]

    def compares(self) -> Sequence[str]:
        """Return what the parts compare besides maps, in words."""
        return [*dict.fromkeys(words for _, method in self._methods for words in method.compares())]

    def advice(self, teacher: View) -> Sequence[str]:
        """Return the advice of all parts, each with the name of the part."""
        return [f"part {name}: {advice}" for name, method in self._methods for advice in method.advice(teacher)]


def mixed_of(factory_of: Callable[[AnyMethod], MethodFactory]) -> MethodFactory:
    """Make the method.

    Args:
        factory_of: returns the factory of a part.
    """

    def build(method: AnyMethod, student: Side, teacher: Side) -> Method:
        assert isinstance(method, Mixed)
        # A part that weighs nothing would still cost its forward pass, and the teacher's.
        parts = {name: part for name, part in method.parts.items() if not part.weighs_nothing}
        methods = {name: factory_of(part)(part, student, teacher) for name, part in parts.items()}
        return MixedMethod(methods, parts)

    return build


def _renamed(terms: Terms, part: str, scale: float) -> Terms:
    return Terms(
        {f"{part}/{name}": value for name, value in terms.parts.items()},
        {f"{part}/{name}": scale * weight for name, weight in terms.weights.items()},
    )


def _names(level: PlannedLevel) -> list[tuple[str, str]]:
    """Name the sides of a planned level, apart for student and teacher."""
    sides = (("student", level.student), ("teacher", level.teacher))
    return [(side, found.name) for side, found in sides if found is not None]


def _stride(level: PlannedLevel) -> float:
    assert level.student is not None  # a compared level has both sides
    return level.student.stride
