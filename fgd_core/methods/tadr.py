"""After task-adaptive regularisation (arXiv:2006.13108), which has no public code: features near objects, with decay.

The mask of a level is a Gaussian on each object of that level (`gaussian_mask`, as DeFeat's code has it), and the loss
is `masked_difference`, times a factor that goes to 0 in the course of the training. The heads of regions can be
compared as well; see `RegionTasks`.
"""

from torch import Tensor, nn

from fgd_core.methods.base import Lesson, LevelPair, Method, Side, Terms
from fgd_core.methods.parts.decay import decay_factor
from fgd_core.methods.parts.imitation import masked_difference, near_zero_convolution
from fgd_core.methods.parts.objects import gaussian_mask, on_level, stacked
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.parts.region_methods import RegionTasks, TaskWeights, WithRegions
from fgd_core.methods.per_level import per_level
from fgd_core.spec.methods.tadr import Tadr


class TadrLoss(nn.Module):
    """Compares one level near the centres of objects, through a trained 3x3 convolution of the student."""

    def __init__(self, method: Tadr, pair: LevelPair) -> None:
        super().__init__()
        self.adapter = near_zero_convolution(pair.student_channels, pair.teacher_channels)
        self._method, self._pair = method, pair

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        with in_float32(self.adapter(student), teacher.detach()) as (ours, theirs):
            objects = on_level(stacked(lesson.targets.boxes, ours.device), self._pair.position, self._pair.num_pairs)
            loss = masked_difference(ours, theirs, gaussian_mask(objects, self._pair.stride, ours))
        weight = self._method.features * decay_factor(self._method.decay, lesson.moment)
        return Terms({"features": loss}, {"features": weight})


_neck = per_level(TadrLoss)


def build_tadr(method: Tadr, student: Side, teacher: Side) -> Method:
    """Build the method for the maps, and for the regions if they have a weight."""
    neck, weights = _neck(method, student, teacher), TaskWeights(method.classes, method.boxes)
    if not any(weights):
        return neck
    return WithRegions(neck, RegionTasks(method.name(), student, teacher, weights, decay=method.decay))
