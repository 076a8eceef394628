"""Cosine distillation of embeddings, as in Distill-DKP (arXiv:2410.14700).

The loss of a level is the mean of 1 - cos(s, t). The vectors s and t over the channels are those of each cell, or the
means over all cells of an image. The loss of a scaled copy is 0, so a teacher of another picture, such as depth maps,
need not have values of the student's size.
"""

from torch import Tensor, nn
from torch.nn.functional import normalize

from fgd_core.methods.base import Lesson, LevelPair, Terms, adapter
from fgd_core.methods.parts.precision import in_float32
from fgd_core.methods.per_level import per_level
from fgd_core.spec.methods.embedding import Embedding


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the mean of 1 - cos over all vectors.

    Args:
        student: (N, C, …), vectors along the second axis; float32 or float64.
        teacher: (N, C, …).
    Returns:
        Scalar () in [0, 2]. A vector of zeros has no direction: its distance is 1, its gradient finite.
    """
    return 1 - (normalize(student) * normalize(teacher)).sum(1).mean()


def pooled(features: Tensor) -> Tensor:
    """Average a map over its cells: (N, C, H, W) to (N, C)."""
    return features.mean((2, 3))


class EmbeddingLoss(nn.Module):
    """Compares one level by cosine; a student of other channels gets a trained 1x1 convolution."""

    def __init__(self, method: Embedding, pair: LevelPair) -> None:
        super().__init__()
        self.adapter = adapter(pair.student_channels, pair.teacher_channels)
        self._method = method

    def forward(self, student: Tensor, teacher: Tensor, lesson: Lesson) -> Terms:
        """Compare maps (N, C, H, W)."""
        with in_float32(self.adapter(student), teacher.detach()) as (ours, theirs):
            of_image = self._method.embeddings == "image"
            distance = cosine_distance(pooled(ours), pooled(theirs)) if of_image else cosine_distance(ours, theirs)
        return Terms({"cosine": distance}, {"cosine": self._method.weight})


build_embedding = per_level(EmbeddingLoss)
