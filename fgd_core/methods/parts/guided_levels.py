"""Semantic-guided imitation of regions (G-DetKD, arXiv:2108.07482 §3.1): the student's level is learned, not given.

A region is pooled from every level of the student's pyramid, and the levels are mixed with weights that grow with their
likeness to the teacher's features of the region. So student and teacher may put a region on different levels, as
detectors of different kinds do.
"""

import torch
from torch import Tensor, nn

from fgd_core.ranks import divisor


def level_weights(student: Tensor, teacher: Tensor, temperature: Tensor | float) -> Tensor:
    """Weigh the student's levels by their likeness to the teacher, for each region.

    Args:
        student: (L, n, E) embeddings of the n regions on the L levels.
        teacher: (n, E) embeddings.
        temperature: scalar; a smaller one prefers the best level more.
    Returns:
        (L, n), the sum over the levels is 1.
    """
    return (torch.einsum("lne,ne->ln", student, teacher) / temperature).softmax(0)


class GuidedLevels(nn.Module):
    """Mixes the student's levels, and compares the result with the teacher's features.

    The embedding trains with the student; its temperature is the exponential of a parameter, so it stays positive.

    Args:
        channels: C of the pooled features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # 7 x 7 cells become 3 x 3, then one. Published widths: 256, 128, 64.
        half, quarter = max(1, channels // 2), max(1, channels // 4)
        self.embedding = nn.Sequential(
            nn.Conv2d(channels, half, 3, stride=2),
            nn.ReLU(),
            # No ReLU here: an embedding of zeros would be alike to every level for ever.
            nn.Conv2d(half, quarter, 3, stride=2),
            nn.Flatten(),
        )
        self.log_temperature = nn.Parameter(torch.zeros(()))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compute the mean squared difference of the mixed and the teacher's features.

        Args:
            student: (L, n, C, 7, 7) pooled from each level.
            teacher: (n, C, 7, 7) pooled from the level of the region's size, without gradient.
        Returns:
            Scalar (); 0 without regions.
        """
        weights = self.weights(student, teacher)
        difference = torch.einsum("ln,lnchw->nchw", weights, student) - teacher
        return difference.square().sum() / divisor(difference.new_tensor(difference.numel()))

    def weights(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the weight of each level for each region: (L, n, C, 7, 7) and (n, C, 7, 7) to (L, n)."""
        embedded = self.embedding(student.flatten(0, 1)).unflatten(0, student.shape[:2])
        return level_weights(embedded, self.embedding(teacher), self.log_temperature.exp())
