"""Decoupled feature distillation (DeFeat, arXiv:2103.14475): the maps inside and outside of objects, weighed apart.

Every level of the student goes through a trained 3x3 convolution that starts near zero. An object belongs to one level
by its size (`on_level`); its cells there are the foreground (`box_mask`). Foreground and background each have a
`masked_difference`, and the loss is the mean over levels. Source: the authors' code.

The class probabilities of regions can be compared as well, apart for objects and background; see `RegionClasses`. The
regions are those that the teacher samples. Their labels are the labels of these regions; the authors' code uses the
labels of the student's regions, which are others.
"""

from torch import Tensor, nn

from fgd_core.methods.base import Lesson, LevelPair, Method, Side, Terms
from fgd_core.methods.parts.decay import decay_factor
from fgd_core.methods.parts.imitation import masked_difference, near_zero_convolution
from fgd_core.methods.parts.objects import box_mask, on_level, stacked
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.parts.region_methods import ClassWeights, RegionClasses, WithRegions
from fgd_core.methods.per_level import by_stride_with_derived, per_level
from fgd_core.spec.methods.defeat import Defeat


class DefeatLoss(nn.Module):
    """Compares one level inside and outside of objects."""

    def __init__(self, method: Defeat, pair: LevelPair) -> None:
        super().__init__()
        self.adapter = near_zero_convolution(pair.student_channels, pair.teacher_channels)
        self._method, self._pair = method, pair

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        with in_float32(self.adapter(student), teacher.detach()) as (ours, theirs):
            objects = on_level(stacked(lesson.targets.boxes, ours.device), self._pair.position, self._pair.num_pairs)
            mask = box_mask(objects, self._pair.stride, ours)
            parts = {
                "foreground": masked_difference(ours, theirs, mask),
                "background": masked_difference(ours, theirs, 1 - mask),
            }
        factor = decay_factor(self._method.decay, lesson.moment) / self._pair.num_pairs
        weights = {"foreground": factor * self._method.foreground, "background": factor * self._method.background}
        return Terms(parts, weights)


_neck = per_level(DefeatLoss, pairing=by_stride_with_derived)


def build_defeat(method: Defeat, student: Side, teacher: Side) -> Method:
    """Build the method for the maps, and for the regions if they have a weight."""
    neck, weights = _neck(method, student, teacher), ClassWeights(method.region_foreground, method.region_background)
    if not any(weights):
        return neck
    regions = RegionClasses(
        method.name(), student, teacher, weights, temperature=method.region_temperature, decay=method.decay
    )
    return WithRegions(neck, regions)
