"""Masked generative distillation (arXiv:2205.01529): generates the teacher's map from random cells of the student's.

A cell of an image is hidden with probability lambda, in all channels at once. G is a 3x3 convolution, a ReLU and
another 3x3 convolution, and trains with the student. The loss is sum((G(f(S) M) - T)^2) / N, with the mask M.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fgd_core.methods.base import Lesson, LevelPair, Terms, adapter
from fgd_core.methods.fitnet import imitation_loss
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.per_level import per_level
from fgd_core.spec.methods.mgd import Mgd


def kept_cells(features: Tensor, hidden_share: float, generators: Sequence[torch.Generator | None] = (None,)) -> Tensor:
    """Draw the cells that are not hidden.

    Args:
        features: (N, C, H, W).
        hidden_share: probability in [0, 1) that a cell is hidden.
        generators: one for each image, or one for all; on the map's device. None is PyTorch's global generator.
    Returns:
        (N, 1, H, W) of the same type, 1 for a kept cell, else 0.
    """
    shape = (len(features) // len(generators), 1, *features.shape[2:])
    drawn = [torch.rand(shape, device=features.device, generator=generator) for generator in generators]
    return (torch.cat(drawn) >= hidden_share).to(features.dtype)


class MgdLoss(nn.Module):
    """Generates one level of the teacher; a student of other channels first gets a trained 1x1 convolution."""

    def __init__(self, method: Mgd, pair: LevelPair) -> None:
        super().__init__()
        width = pair.teacher_channels
        self.adapter = adapter(pair.student_channels, width)
        self.generation = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self._method, self._level = method, pair.name

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        adapted = self.adapter(student)
        draws = lesson.targets.generators(f"cells of {self._level}", adapted.device)
        generated = self.generation(adapted * kept_cells(adapted, self._method.lambda_, draws))
        with in_float32(generated, teacher.detach()) as (ours, theirs):
            loss = imitation_loss(ours, theirs, "sum") * self._method.cell_factor(lesson.input_size)
        return Terms({"generation": loss}, {"generation": self._method.alpha})


build_mgd = per_level(MgdLoss)
