"""Feature imitation (FitNets, arXiv:1412.6550): the squared difference of two maps, as a mean or a sum."""

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import normalize

from fgd_core.methods.base import Lesson, LevelPair, Terms, adapter
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.per_level import per_level
from fgd_core.spec.methods.fitnet import FitNet


def imitation_loss(
    student: Tensor, teacher: Tensor, reduction: Literal["mean", "sum"] = "mean", *, normalised: bool = False
) -> Tensor:
    """Compute the squared difference of two maps.

    Args:
        student: (N, C, H, W), float32 or float64.
        teacher: (N, C, H, W).
        reduction: `mean` of all values, or their `sum` divided by N.
        normalised: divide the map of each image by its L2 norm before.
    Returns:
        Scalar ().
    """
    if normalised:
        student, teacher = (normalize(each.flatten(1)) for each in (student, teacher))
    squared = (student - teacher).square()
    return squared.mean() if reduction == "mean" else squared.sum() / len(squared)


class FitNetLoss(nn.Module):
    """Imitates one level; a student of other channels gets a trained 1x1 convolution."""

    def __init__(self, method: FitNet, pair: LevelPair) -> None:
        super().__init__()
        self.adapter = adapter(pair.student_channels, pair.teacher_channels)
        self._method = method

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        with in_float32(self.adapter(student), teacher.detach()) as (ours, theirs):
            loss = imitation_loss(ours, theirs, self._method.reduction, normalised=self._method.normalise)
        return Terms({"imitation": loss}, {"imitation": self._method.weight})


build_fitnet = per_level(FitNetLoss)
