"""Computes instance knowledge distillation: another method, and an imitation of the maps on an adversarial copy.

For each level, alpha_adv * sum((f(S(x_adv)) - T(x_adv))^2) / N, without masks; f is a 1x1 convolution where the
channels differ, else the identity. Source: the authors' code of arXiv:2209.09841. There the run without copies is a
second job that resumes after epoch 16; here the term ends after `until_epoch`.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from fgd_core.methods.base import Lesson, LevelPair, Method, MethodFactory, Moment, Side, Terms, View, adapter, resting
from fgd_core.methods.parts.decay import scale_at
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.per_level import per_level
from fgd_core.spec.methods import AnyMethod
from fgd_core.spec.methods.ikd import Ikd
from fgd_core.spec.plans import PlannedLevel

_TERM = "adversarial"


def adversarial_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum the squared differences of two maps over channels and cells, as the mean over the images.

    Args:
        student: (N, C, H, W).
        teacher: (N, C, H, W), without gradient.
    Returns:
        Scalar ().
    """
    return (student - teacher).square().sum() / len(student)


class AdversarialLoss(nn.Module):
    """Computes the loss of one pair of levels; a student of other channels gets a trained 1x1 convolution."""

    def __init__(self, method: Ikd, pair: LevelPair) -> None:
        super().__init__()
        self.adapter = adapter(pair.student_channels, pair.teacher_channels)
        self._method = method

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        with in_float32(self.adapter(student), teacher) as maps:
            loss = adversarial_loss(*maps) * self._method.cell_factor(lesson.input_size)
        return Terms({_TERM: loss}, {_TERM: self._method.alpha_adv})


class IkdMethod(Method):
    """Adds the adversarial terms to those of the base, level by level, until its last epoch."""

    def __init__(self, method: Ikd, base: Method, adversarial: Method) -> None:
        super().__init__()
        self.base, self.adversarial = base, adversarial
        self._settings = method

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the base's loss on the images and the adversarial loss on their copies."""
        scale = scale_at(self._settings.base, lesson.moment)
        terms = {
            place: Terms(each.parts, {name: scale * weight for name, weight in each.weights.items()})
            for place, each in (self.base(lesson) if scale else resting(self.base, "base")).items()
        }
        if not self._is_on(lesson.moment):
            return {**terms, **resting(self.adversarial, _TERM)}
        for place, each in self.adversarial(lesson.others[self._settings.picture]).items():
            parts, weights = terms.get(place, Terms({}, {}))
            terms[place] = Terms({**parts, **each.parts}, {**weights, **each.weights})
        return terms

    def _is_on(self, moment: Moment) -> bool:
        until_epoch = self._settings.until_epoch
        if self._settings.alpha_adv == 0:
            return False
        return until_epoch is None or moment.is_before(until_epoch)

    def plan(self) -> list[PlannedLevel]:
        """Return the levels that the base compares."""
        return [*self.base.plan()]

    def compares(self) -> list[str]:
        """Return what the base compares besides maps, and the copies."""
        settings = self._settings
        if not settings.pictures:
            return [*self.base.compares()]
        end = f" for {settings.until_epoch} epochs" if settings.until_epoch is not None else ""
        return [*self.base.compares(), f"the same levels on the pictures {settings.picture!r}{end}"]

    def advice(self, teacher: View) -> list[str]:
        """Return the base's advice."""
        return [*self.base.advice(teacher)]


_adversarial = per_level(AdversarialLoss)


def ikd_around(factory_of: Callable[[AnyMethod], MethodFactory]) -> MethodFactory:
    """Make the method.

    Args:
        factory_of: returns the factory of the base.
    """

    def build(method: AnyMethod, student: Side, teacher: Side) -> IkdMethod:
        assert isinstance(method, Ikd)
        # The base first: its initial parameters are then those that it has without the copies.
        base = factory_of(method.base)(method.base, student, teacher)
        return IkdMethod(method, base, _adversarial(method, student, teacher))

    return build
