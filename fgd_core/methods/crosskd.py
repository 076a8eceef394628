"""Cross-head knowledge distillation (arXiv:2306.11369): the student's maps go through the rest of the teacher's head.

The maps of the student after the first convolutions of its head get the channel statistics of the teacher's maps at the
same place. The rest of the teacher's head, which is frozen, predicts from them, and these cross outputs are compared
with the teacher's own. With t the teacher's logits, c the cross logits and P the number of locations with an object:

    classes = 1 / P Σ |sigmoid(c) - sigmoid(t)| BCE(sigmoid(c), sigmoid(t))
    boxes   = 1 / P Σ w (1 - GIoU), w = sigmoid of the teacher's best logit
    sides   = Σ w · mean over 4 sides of KL(teacher || cross) / Σ w

The sums are over all locations except those that the assignment ignores. Gradients flow through the layers of the
teacher into the student; the student's own outputs get none.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fgd_core.methods.base import Lesson, Method, Side, Terms, adapter
from fgd_core.methods.parts.comparable import check_same_locations
from fgd_core.methods.parts.dense import imitation
from fgd_core.methods.parts.statistics import with_statistics_of
from fgd_core.outputs import DenseOutputs, Towers
from fgd_core.spec.loss_names import HEAD
from fgd_core.spec.methods.crosskd import CrossKd


class CrossKdMethod(Method):
    """Compares the cross outputs with the teacher's; a student of another width gets a 1x1 convolution a branch."""

    def __init__(self, method: CrossKd, student: Side, teacher: Side) -> None:
        super().__init__()
        check_same_locations(method.name(), student, teacher)
        self._method = method
        self._weights = {"classes": method.classes, "boxes": method.boxes, "sides": method.sides}
        width, wanted = student.levels[0].channels, teacher.levels[0].channels
        self.classes, self.boxes = adapter(width, wanted), adapter(width, wanted)

    def forward(self, lesson: Lesson) -> Mapping[str, Terms]:
        """Compute the loss of the head."""
        depth, head, student = self._method.depth, lesson.teacher.dense_head, lesson.student.outputs
        assert head is not None and lesson.student.dense_head is not None and isinstance(student, DenseOutputs)
        with torch.no_grad():
            towers = head.tower(lesson.teacher.pyramid, depth)
            teacher = head.rest(towers, depth)
        own = lesson.student.dense_head.tower(lesson.student.pyramid, depth)
        cross = head.rest(
            Towers(aligned(self.classes, own.classes, towers.classes), aligned(self.boxes, own.boxes, towers.boxes)),
            depth,
        )
        return {HEAD: imitation(cross, teacher, student.assigned, self._weights, self._method.box_measure)}

    def compares(self) -> Sequence[str]:
        """Return what is compared, in words."""
        return (f"what the teacher's head makes of the student's maps after {self._method.depth} convolutions",)


def aligned(branch: nn.Module, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[Tensor]:
    """Adapt the maps of a branch, each (N, C_s, H, W), to the channels and statistics of the teacher's (N, C_t, H, W).

    Args:
        branch: adapts the channels.
    """
    return [_with_statistics_of(theirs, branch(ours)) for ours, theirs in zip(student, teacher, strict=True)]


def _with_statistics_of(teacher: Tensor, student: Tensor) -> Tensor:
    """Rescale the channels of (N, C, H, W) in float32; see `with_statistics_of`."""
    with torch.autocast(student.device.type, enabled=False):
        return with_statistics_of(teacher, student)


def build_crosskd(method: CrossKd, student: Side, teacher: Side) -> Method:
    """Build the method for a pair of detectors."""
    return CrossKdMethod(method, student, teacher)
