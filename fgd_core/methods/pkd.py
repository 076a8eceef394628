"""Pearson knowledge distillation (arXiv:2207.02039): compares the pattern of each channel, not its size.

Each channel of both maps is standardised over the batch and all cells, and the loss is half the mean squared
difference. With m = N H W values a channel that is (m - 1) / m times the mean over channels of 1 - r, where r is the
Pearson correlation. So the loss is unchanged by a x + b on a channel of either side, with a > 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fgd_core.methods.base import Lesson, LevelPair, Side, Terms, adapter
from fgd_core.methods.levels import Pair, match_by_index, match_levels
from fgd_core.methods.parts.statistics import standardised_gap
from fgd_core.methods.per_level import per_level
from fgd_core.spec.methods.pkd import Pkd


def pkd_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute half the mean squared difference of two maps whose channels are standardised.

    Args:
        student: (N, C, H, W).
        teacher: (N, C, H, W).
    Returns:
        Scalar () in [0, 2]; 0 if each channel is the same up to an offset and a positive factor.
    """
    return standardised_gap(student, teacher) / 2


class PkdLoss(nn.Module):
    """Computes the Pearson loss of one pair of levels; a student of other channels gets a trained 1x1 convolution."""

    def __init__(self, pair: LevelPair, weight: float) -> None:
        super().__init__()
        self.adapter = adapter(pair.student_channels, pair.teacher_channels)
        self._weights = {"pearson": weight}

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        adapted = self.adapter(student)
        with torch.autocast(student.device.type, enabled=False):
            return Terms({"pearson": pkd_loss(adapted, teacher)}, self._weights)


def _pairs(method: Pkd, student: Side, teacher: Side) -> Sequence[Pair]:
    if method.pairing == "index":
        pairs = match_by_index(student.levels, teacher.levels, teacher.input_scale)
    else:
        pairs = match_levels(student.levels, teacher.levels, teacher.input_scale)
    return pairs[: method.levels]


build_pkd = per_level(lambda method, pair: PkdLoss(pair, method.weight), pairing=_pairs)
